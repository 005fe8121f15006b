# SPDX-License-Identifier: MIT
exec python3 -B -S /test/python.py
