# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives an empty virtual environment the pip that is asked for, from the package index alone.

``ansible-test`` runs this in place of the script of the same purpose which it would otherwise download.
"""

from __future__ import annotations

import subprocess
import sys

packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
subprocess.run([sys.executable, "-m", "pip", "install", *packages], check=True)
