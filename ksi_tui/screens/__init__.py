"""The dashboard's screens: one screen is one module and its stylesheet."""
