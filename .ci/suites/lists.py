#!/usr/bin/env python3
"""lists.py DIRECT WAXSEAL LIST: writes the tests that pass straight and not through waxseal to LIST, with the reasons that LIST has
for them, and fails where a reason is missing. A line is 'NAME | REASON'. Where DIRECT is '-', LIST gets all tests that fail."""
import os
import sys


def passing(path):
    outcome = dict(reversed(line.rstrip("\n").split(" ", 1)) for line in open(path))
    return {name for name, how in outcome.items() if how == "pass"}, set(outcome)


through, tried_through = passing(sys.argv[2])
direct, tried = passing(sys.argv[1]) if sys.argv[1] != "-" else (tried_through, tried_through)
reasons = {}
if os.path.exists(sys.argv[3]):
    for line in open(sys.argv[3]):
        if " | " in line and not line.startswith("#"):
            name, reason = line.rstrip("\n").split(" | ", 1)
            reasons[name] = reason
only = sorted(direct - through)
summary = f"{len(tried | tried_through)} tests: {len(direct)} pass straight, {len(through)} through waxseal, {len(only)} straight only"
if sys.argv[1] == "-":
    summary = f"{len(tried)} tests: {len(through)} pass, {len(only)} fail"
with open(sys.argv[3], "w") as f:
    f.write(f"# {summary}\n")
    f.writelines(f"{name} | {reasons.get(name, '')}\n".replace(" | \n", "\n") for name in only)
print(summary)
missing = [name for name in only if not reasons.get(name)]
for name in missing:
    print("no reason:", name)
sys.exit(1 if missing else 0)
