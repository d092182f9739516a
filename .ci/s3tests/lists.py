#!/usr/bin/env python3
"""lists.py DIRECT.xml WAXSEAL.xml PREFIX: writes the tests that pass to PREFIX-direct.txt and PREFIX-waxseal.txt, and
prints those that pass straight and not through waxseal."""
import sys
import xml.etree.ElementTree as ET


def passing(path):
    outcome = {}
    for case in ET.parse(path).iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}"
        bad = any(case.find(t) is not None for t in ("failure", "error", "skipped"))
        outcome[name] = outcome.get(name, True) and not bad
    return {n for n, ok in outcome.items() if ok}, len(outcome)


direct, of = passing(sys.argv[1])
through, _ = passing(sys.argv[2])
for names, suffix in ((direct, "direct"), (through, "waxseal")):
    with open(f"{sys.argv[3]}-{suffix}.txt", "w") as f:
        f.writelines(f"{n}\n" for n in sorted(names))
print(f"{of} tests: {len(direct)} pass straight, {len(through)} through waxseal, {len(through - direct)} of them only there")
for name in sorted(direct - through):
    print("straight only:", name)
