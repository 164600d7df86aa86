"""Who may do what, how often, and what is remembered of it: keys, users, sessions, limits, audit.

`assembly.secure` puts it around an application; without it `callers.OpenCallers` keeps the service
on loopback. Everything durable is in one directory, the vault (`vault.Vault`).
"""

from __future__ import annotations
