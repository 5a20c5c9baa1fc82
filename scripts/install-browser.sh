#!/usr/bin/env bash
# Installs Debian's Chromium, with which the tests of the console run. Needs root.
set -euo pipefail
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium
chromium --version
