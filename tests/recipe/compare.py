#!/usr/bin/env python3
"""Compares what was imported with what a watch delivered: count, order and SHA-256 of the documents.

usage: compare.py SOURCE EVENTS

SOURCE is the imported file (JSON lines or one JSON array), EVENTS what `tailwater watch` printed for it. Both are read by
Python's own JSON parser and nothing of Tailwater. A document without an `_id` was given one on import; it is left out of
the comparison. Numbers and dates are compared as values, so canonical and relaxed Extended JSON agree.
"""
import datetime
import hashlib
import json
import sys


def documents(path):
    with open(path, encoding="utf-8") as file:
        first = file.read(1)
        file.seek(0)
        if first == "[":
            yield from json.load(file)
        else:
            for line in file:
                if line.strip():
                    yield json.loads(line)


def plain(value):
    """Extended JSON's ways of writing one number or date become one way."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if len(value) == 1:
        (key, inner), = value.items()
        if key in ("$numberInt", "$numberLong", "$numberDouble"):
            return float(inner)
        if key == "$date":
            if isinstance(inner, dict):
                return {"$date": int(plain(inner))}
            parsed = datetime.datetime.fromisoformat(inner.replace("Z", "+00:00"))
            return {"$date": round(parsed.timestamp() * 1000)}
    # Pairs, not a mapping: the order of fields counts.
    return [[key, plain(inner)] for key, inner in value.items()]


def digest(items, drop_id):
    count, sha = 0, hashlib.sha256()
    for item in items:
        count += 1
        if drop_id:
            item = {key: value for key, value in item.items() if key != "_id"}
        sha.update(json.dumps(plain(item), ensure_ascii=False).encode() + b"\n")
    return count, sha.hexdigest()


def main():
    source, events = sys.argv[1:]
    drop_id = "_id" not in next(documents(source))
    went_in = digest(documents(source), drop_id)
    came_out = digest((event["fullDocument"] for event in documents(events)), drop_id)
    print(f"went in:  {went_in[0]} documents, {went_in[1]}")
    print(f"came out: {came_out[0]} documents, {came_out[1]}")
    sys.exit(0 if went_in == came_out else 1)


if __name__ == "__main__":
    main()
