#!/usr/bin/env python3
"""outcomes.py junit|mint|go|versitygw LOG: prints 'pass NAME' or 'fail NAME' for each test of a suite's log. A test that reports more
than once passes where all its reports do; skipped tests are left out."""
import json
import re
import sys
import xml.etree.ElementTree as ET


def junit(path):
    for case in ET.parse(path).iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}"
        if case.find("skipped") is None:
            yield name, all(case.find(t) is None for t in ("failure", "error"))


def mint(path):
    for line in open(path, errors="replace"):
        if line.startswith("{") and "status" in (entry := json.loads(line)) and entry["status"] != "NA":
            yield f"{entry['name'].split(': ')[-1]}: {entry.get('function', '').split('(')[0]}", entry["status"] == "PASS"


def go(path):
    package = ""
    for line in open(path, errors="replace"):
        if m := re.match(r"=== package (\S+)", line):
            package, running = m[1], None
        elif m := re.match(r"=== RUN\s+(\S+)", line):
            running = m[1]
        elif m := re.match(r"\s*--- (PASS|FAIL): (\S+)", line):
            yield f"{package}/{m[2]}", m[1] == "PASS"
        elif line.startswith("panic: ") and running:
            yield f"{package}/{running.split('/')[0]}", False


def versitygw(path):
    for line in open(path, errors="replace"):
        if m := re.match(r"=== (pass|fail) (\S+)", line):
            yield m[2], m[1] == "pass"


outcome = {}
for name, passed in {"junit": junit, "mint": mint, "go": go, "versitygw": versitygw}[sys.argv[1]](sys.argv[2]):
    outcome[name] = outcome.get(name, True) and passed
for name in sorted(outcome):
    print("pass" if outcome[name] else "fail", name)
