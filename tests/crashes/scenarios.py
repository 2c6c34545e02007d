"""Scenarios of everything that a server does, in which it may die at any moment.

Each has what is given, which happens before, and what it plays. The world's part (a payment, a
block, an hour) happens once; the server's part is done again by whoever asks for it.
"""

from tests.crashes import scenarios_of_payments, scenarios_of_upkeep
from tests.crashes.given import Scenario

SCENARIOS = [
    each
    for module in (scenarios_of_payments, scenarios_of_upkeep)
    for each in vars(module).values()
    if isinstance(each, Scenario)
]
