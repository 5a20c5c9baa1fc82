"""The console's files, as `make install` builds them out of `web/`, and what they run under. Knows no server."""

from __future__ import annotations

from pathlib import Path

from pumice import api

STATIC = Path(api.__file__).parent / "static"
NONCE = "__NONCE__"
"""What stands in the built page where the number used once belongs."""
HOST = '<meta name="host" content="server" />'
"""By which the built page says what answers it."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' {styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""`styles` are those that the components write into the page while it runs."""
FOR_EVER = "public, max-age=31536000, immutable"
"""The names of the assets have a hash of what is in them."""
