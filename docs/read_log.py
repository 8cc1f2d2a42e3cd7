#!/usr/bin/env python3
"""Reads a log by oplog-format.md alone: prints a JSON line for each entry, then one with the verdict.

    python3 docs/read_log.py DIRECTORY

It is the test of that page: oplog/tests/python.rs compares it with the engine, entry by entry. It is for logs that
nobody writes meanwhile. Exit status: 0 for a sound log, with or without a torn tail; 1 for any other.
"""
import json, os, pathlib, re, struct, sys, zlib

VERSION, FRAMES_START, TRAILER_BYTES, STRIDE, BATCH, BATCH_END = 1, 4096, 128, 8, 1, 2
NAME = re.compile(r"([0-9]{10})-([0-9]{20})\.seg")
FRAME = struct.Struct("<IIQIBBHQQ")
BODIES = {b"TAILWMAN": "<I16sQIQQ", b"TAILWSEG": "<I16sQIQQ", b"TAILWSLT": "<QQQ", b"TAILWEND": "<QQQQQII"}

class Refused(Exception):
    """Its argument is the verdict."""

def record(magic, data, at, room, seed=0):
    """The fields of the checked record there, or None."""
    data = bytes(data[at:at + room])
    if len(data) < 20 or data[:8] != magic:
        return None
    crc, length = struct.unpack_from("<II", data, 8)
    if 16 + length > len(data) or zlib.crc32(data[12:16 + length], seed) != crc:
        return None
    version, = struct.unpack_from("<I", data, 16)
    if magic in (b"TAILWMAN", b"TAILWSEG") and version > VERSION:
        raise Refused(dict(verdict="newer format", found=version))
    return struct.unpack_from(BODIES[magic], data, 16) if length == struct.calcsize(BODIES[magic]) else None

class Segment:
    """A segment file whose metadata has been checked."""

    def __init__(self, directory, name, log_id, notes):
        data = self.data = memoryview(pathlib.Path(directory, name).read_bytes())
        if len(data) < FRAMES_START:
            raise Refused(dict(verdict="damaged", file=name, what="shorter than a segment header"))
        copies = [record(b"TAILWSEG", data, at, 512) for at in (0, 1536)]
        notes += [f"{name}: header copy {copy} is bad" for copy, header in zip("AB", copies) if not header]
        if not any(copies):
            raise Refused(dict(verdict="damaged", file=name, what="both copies of its header are bad"))
        _, owner, sequence, self.seed, length, _ = copies[0] or copies[1]
        if (owner, sequence) != (log_id, int(name[:10])):
            raise Refused(dict(verdict="foreign segment", file=name))
        if not FRAMES_START + TRAILER_BYTES <= length <= 2**31 or length % 8:
            raise Refused(dict(verdict="damaged", file=name, what="its header claims a length that no segment has"))
        if length > len(data):
            raise Refused(dict(verdict="damaged", file=name, what="shorter than its header says"))
        self.first, self.limit, self.footer = int(name[11:31]), length - TRAILER_BYTES, None
        beyond = self.first + (self.limit - FRAMES_START) // FRAME.size
        slots = [record(b"TAILWSLT", data, at, 512, self.seed) for at in (512, 1024)]
        slots = [slot for slot in slots if slot and slot[0] < 2**64 - 1 and slot[1] < beyond]
        _, self.slot_durable, self.slot_end = max(slots, default=(0, 0, 0))
        first, last, end, _, _, n, crc = footer = record(b"TAILWEND", data, self.limit, 128, self.seed) or 7 * (0,)
        index = data[max(0, self.limit - 4 * n):self.limit]
        self.index = at = [8 * number for number, in struct.iter_unpack("<I", index)]
        if (FRAMES_START <= end <= self.limit - 4 * n and end % 8 == 0 and zlib.crc32(index, self.seed) == crc
                and 0 <= last - first < (end - FRAMES_START) // FRAME.size and n == (last - first) // STRIDE + 1
                and at[0] == FRAMES_START and at[-1] <= end - 40 and all(b - a >= 320 for a, b in zip(at, at[1:]))):
            self.footer, self.limit = footer, end
            if first != self.first:
                raise Refused(dict(verdict="foreign segment", file=name))

    def frame(self, at):
        """End and fields of the frame at that offset, if it is whole and its CRC holds."""
        _, length, op_id, _, _, flags, zero, _, _ = fields = FRAME.unpack_from(self.data, at)
        end = at + (FRAME.size + length + 7) // 8 * 8
        if end > self.limit or op_id == 0 or zero or flags & ~(BATCH | BATCH_END):
            return None
        return (end, *fields) if zlib.crc32(self.data[at + 4:end], self.seed) == fields[0] else None

    def watermarks(self, at):
        """The watermarks of all frames from that offset on, wherever they stand."""
        while at + FRAME.size <= self.limit:
            if frame := self.frame(at):
                yield frame[9]
            at = frame[0] if frame else at + (8 if any(self.data[at:at + 4096]) else 4096)

def chain(directory, sequence, first):
    """The segments' names from the manifest's first on, and the sequence number after the last."""
    found = (name for name in sorted(os.listdir(directory)) if NAME.fullmatch(name) and 0 < int(name[11:31]) < 2**63)
    names = [name for name in found if int(name[:10]) >= sequence]
    for name in names:
        if int(name[:10]) > sequence:
            raise Refused(dict(verdict="missing segment", sequence=sequence))
        if int(name[:10]) < sequence or int(name[11:31]) < first or name is names[0] and int(name[11:31]) != first:
            raise Refused(dict(verdict="foreign segment", file=name))
        sequence, first = sequence + 1, int(name[11:31]) + 1
    return names, sequence

def read(directory, say, notes):
    """Says every entry; returns the verdict."""
    if not (manifest := record(b"TAILWMAN", pathlib.Path(directory, "MANIFEST").read_bytes(), 0, 512)):
        raise Refused(dict(verdict="damaged", file="MANIFEST", what="checksum or contents are wrong"))
    _, log_id, _, newest_term, sequence, next_id = manifest
    names, sequence = chain(directory, sequence, next_id)
    if not names and newest_term > 0:
        raise Refused(dict(verdict="missing segment", sequence=sequence))
    # The newest segments, back to the first that is sealed, prove up to where entries were durable.
    opened, proven, successor, term, time = {}, 0, None, 0, 0
    for name in reversed(names):
        segment = opened[name] = Segment(directory, name, log_id, notes)
        proven = max(proven, segment.slot_durable, segment.footer[1] if segment.footer else 0)
        if segment.footer:
            if successor != segment.footer[1] + 1:
                raise Refused(dict(verdict="missing segment", sequence=int(name[:10]) + 1))
            break
        successor = segment.first
    for i, name in enumerate(names):
        segment = opened.get(name) or Segment(directory, name, log_id, notes)
        at, frames, batch, whole = FRAMES_START, [], [], (next_id, FRAMES_START)
        while (frame := segment.frame(at)) and frame[3] == next_id and frame[4] >= term and frame[9] < next_id:
            end, _, length, op_id, term, kind, flags, _, stamp, mark = frame
            if stamp < time or stamp == time and not batch:
                notes.append(f"{name}: the timestamp does not grow at OpID {op_id}")
            if op_id == segment.slot_durable and end != segment.slot_end:
                notes.append(f"{name}: a slot's offset is not its entry's end")
            crc = zlib.crc32(segment.data[at + FRAME.size:at + FRAME.size + length])
            batch.append(dict(op_id=op_id, term=term, kind=kind, flags=flags, timestamp=stamp, watermark=mark, crc=crc))
            frames.append((at, stamp))
            next_id, at, time = op_id + 1, end, stamp
            if not flags & BATCH or flags & BATCH_END:
                list(map(say, batch))
                whole, batch = (next_id, at), []
        if whole == (next_id, at) and names[i + 1:] and int(names[i + 1][11:31]) == next_id:
            said = (at, frames[0][1], time, [at for at, _ in frames[::STRIDE]]) if frames else None
            if segment.footer and (*segment.footer[2:5], segment.index) != said:
                notes.append(f"{name}: the footer is not what its frames are")
            continue
        # Here the frames end. Whatever proves that the entry which should follow was durable makes it damage.
        for later in names[i:] if proven < whole[0] else ():
            behind = opened.get(later) or Segment(directory, later, log_id, notes)
            proven = max(proven, *behind.watermarks(whole[1] if later == name else FRAMES_START), 0)
        if proven >= whole[0]:
            list(map(say, batch))
            raise Refused(dict(verdict="corrupt", file=name, offset=at, op_id=next_id))
        verdict = "torn tail" if names[i + 1:] or any(segment.data[whole[1]:segment.limit]) else "sound"
        return dict(verdict=verdict, file=name, offset=whole[1], newest=whole[0] - 1)
    return dict(verdict="sound", newest=next_id - 1)

if __name__ == "__main__":
    notes = []
    try:
        result = read(sys.argv[1], lambda entry: print(json.dumps(entry)), notes)
    except Refused as refused:
        result = refused.args[0]
    print(json.dumps({**result, "notes": notes}))
    sys.exit(result["verdict"] not in ("sound", "torn tail"))
