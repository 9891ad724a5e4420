"""Python imports this at start when the folder is on PYTHONPATH: it carries the block into the tests' subprocesses."""

import no_network

no_network.install()
