"""One request in words: what `completion:request_status` and the live view say, as lines.

Pure, and the view-model's edge of the request screen: every text of a reply is cleaned in
here. Layout and keys are the screen's.
"""
