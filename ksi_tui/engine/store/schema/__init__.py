"""The numbered migrations, `NNNN_name.sql`. A released one is never edited; no Python in here."""
