"""The one filter grammar: what a person types to find requests, everywhere.

Pure values: no store, no SQL, no engine. `grammar` reads and writes filters, `fields` says what
there is to ask for, `match` judges one request, `suggest` completes what is being typed.
"""

from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.filter.fields import FIELDS, Field, FieldKind
from ksi_tui.engine.filter.grammar import parse
from ksi_tui.engine.filter.match import Facts, matches
from ksi_tui.engine.filter.suggest import Wanted, suggest, wanted
from ksi_tui.engine.filter.terms import Comparison, Filter, Pattern, Term, TextTerm

__all__ = [
    "FIELDS",
    "Comparison",
    "Facts",
    "Field",
    "FieldKind",
    "Filter",
    "FilterError",
    "Pattern",
    "Term",
    "TextTerm",
    "Wanted",
    "matches",
    "parse",
    "suggest",
    "wanted",
]
