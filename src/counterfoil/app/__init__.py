"""The composition root: the only room that sees every other one.

`opened` puts an installation together for one command; `running` lets one serve until it is left.
"""

from counterfoil.app.parts import Installation as Installation
from counterfoil.app.parts import base_url as base_url
from counterfoil.app.parts import build_chains as build_chains
from counterfoil.app.parts import build_channels as build_channels
from counterfoil.app.parts import build_sources as build_sources
from counterfoil.app.parts import checkout_url as checkout_url
from counterfoil.app.parts import database_time as database_time
from counterfoil.app.parts import list_chain_states as list_chain_states
from counterfoil.app.parts import migrate as migrate
from counterfoil.app.parts import open_store as open_store
from counterfoil.app.parts import opened as opened
from counterfoil.app.secret_key import check_vault as check_vault
from counterfoil.app.serving import listen as listen
from counterfoil.app.serving import running as running
from counterfoil.app.serving import serve as serve
from counterfoil.app.serving import serving_alone as serving_alone
from counterfoil.app.serving import stop_signal as stop_signal
from counterfoil.app.world import SystemClock as SystemClock
from counterfoil.app.world import SystemEntropy as SystemEntropy
from counterfoil.db.vault import make_key as make_key
