"""The dialogs that come before a deed, and the pages that tell what it did; made by `later`."""
