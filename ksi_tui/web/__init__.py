"""The attached dashboard in a browser: `ksi-tui web`.

textual-serve's terminal runs in the page, one `ksi-tui attach` a visitor behind it, one engine
behind all of them.
"""
