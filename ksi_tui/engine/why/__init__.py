"""Why a request is where it is, and what happens if nobody acts."""
