#!/bin/sh
# what a container holds beside Python and this project: both Dockerfile and apptainer.def run it, as root, in the project's folder
set -eu
apt-get update
apt-get install --yes --no-install-recommends make
make .venv/installed
rm -rf /var/lib/apt/lists/* "$HOME/.cache/pip"
chmod -R a+rX . # whoever runs it is not root
