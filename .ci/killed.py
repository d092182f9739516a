#!/usr/bin/env python3
"""killed.py WAXSEAL [ROUNDS]: waxseal with its embedded store is killed in the middle of a mixed load, over and over. After each
kill `waxseal fsck` must find nothing, and everything that was acknowledged must be there: objects, versions, delete markers, copies,
parts of unfinished uploads, retentions, legal holds. A request that was under way may have happened or not. The ledger is never below
a full walk of all objects, and equal to it afterwards. SEED repeats a run's
requests, as far as threads and the time of a kill can be repeated."""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PROGRAM, ROUNDS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
SEED = int(os.environ.get("SEED", random.randrange(10**6)))
WORKERS, MIB = 6, 1 << 20
KEYS = {"WAXSEAL_ACCESS_KEY": "AKIAKILLEDTESTROOT00", "WAXSEAL_SECRET_KEY": "secret-of-the-killed-root-0123456789"}
GONE = None  # what a key without an object holds


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Server:
    def __init__(self, directory, acknowledged, unanswered):
        self.directory = directory
        self.acknowledged = acknowledged  # returns the ids of the uploads whose Create was answered
        self.unanswered = unanswered  # returns the ids of the uploads whose Complete was not
        self.twice = 0  # most uploads that the ledger counted beside their objects
        self.left = set()  # uploads that a kill left without a record

    def start(self):
        out = open(os.path.join(self.directory, "out"), "w+")
        log = open(os.path.join(self.directory, "log"), "a")
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--data-dir", self.directory + "/data", "--listen", "127.0.0.1:0", "--kms-listen", "127.0.0.1:0",
             "--admin-listen", "127.0.0.1:0", "--drain-delay", "0"], stdout=out, stderr=log, env=os.environ | KEYS)
        for _ in range(600):
            ready = re.search(r"waxseal is ready: S3 ([^,]*),", open(out.name).read())
            if ready:
                self.client = boto3.client(
                    "s3", endpoint_url=ready[1], aws_access_key_id=KEYS["WAXSEAL_ACCESS_KEY"], aws_secret_access_key=KEYS["WAXSEAL_SECRET_KEY"],
                    region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}, max_pool_connections=WORKERS, read_timeout=60))
                return self.client
            assert self.process.poll() is None, open(log.name).read()[-2000:]
            time.sleep(0.05)
        raise AssertionError("waxseal is not ready")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def check(self):
        done = subprocess.run([PROGRAM, "fsck", "--data-dir", self.directory + "/data", "--read-data"], capture_output=True, text=True, env=os.environ | KEYS)
        assert done.returncode == 0, f"fsck: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def inventory(self, *more):
        done = subprocess.run([PROGRAM, "inventory", "--format", "json", "--data-dir", self.directory + "/data", *more], capture_output=True, text=True, env=os.environ | KEYS)
        assert done.returncode == 0, f"inventory: {done.returncode} {done.stdout} {done.stderr}"
        return {(r["bucket"], r["encryption"], r.get("key")): (r["objects"], r["bytes"]) for r in json.loads(done.stdout)}

    def check_ledger(self):
        """No write is under way. The walk replaces the estimate, and uploads under way count as objects without bytes. So does, beside
        its object, an upload that the store completed and whose answer a kill cut off."""
        before, walk, after = self.inventory("--estimate"), self.inventory(), self.inventory("--estimate")
        for at, (objects, size) in walk.items():
            has = before.get(at, (0, 0))
            assert has[0] >= objects and has[1] >= size, f"the ledger had {has} of {at}, and there are {objects} objects with {size} bytes"
        open_uploads = [u for u in self.client.list_multipart_uploads(Bucket="plain").get("Uploads", []) if self.can_complete(u)]
        extra = sum(n for n, _ in after.values()) - sum(n for n, _ in walk.values())
        ended = self.unanswered() - {u["UploadId"] for u in open_uploads}
        assert 0 <= extra - len(open_uploads) <= len(ended), f"after the walk the ledger has {extra} objects more than there are, {len(open_uploads)} uploads are under way, and {len(ended)} ended without an answer"
        self.twice = max(self.twice, extra - len(open_uploads))
        for at, (_, size) in after.items():
            assert size == walk.get(at, (0, 0))[1], f"after the walk the ledger has {size} bytes of {at}, the walk {walk.get(at)}"
        return sum(n for n, _ in before.values()) - sum(n for n, _ in after.values())

    def can_complete(self, upload):
        """A kill between the store's answer to Create and waxseal's record leaves an upload whose id no client has, and which can
        never become an object."""
        try:
            self.client.list_parts(Bucket="plain", Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as e:
            assert e.response["Error"]["Code"] == "NoSuchUpload", e
            assert upload["UploadId"] not in self.acknowledged(), f"upload {upload['UploadId']} was acknowledged, and is gone"
            self.left.add(upload["UploadId"])
            return False
        return True


class Worker:
    """Worker sends requests one after the other, about keys of its own, and knows what each key may hold."""

    def __init__(self, number):
        self.random = random.Random(f"{SEED} {number}")
        self.name = f"w{number}"
        self.plain = {}  # key of "plain" -> the digests that it may have
        self.versions = {}  # (key, version) of "versions" -> digest, or "marker"
        self.locked = {}  # (key, version) of "locked" -> digest, retention, legal hold; the last two as sets of what may be
        self.begun = set()  # ids of all uploads whose Create was answered
        self.unanswered = set()  # ids of all uploads whose Complete was not
        self.uploads = {}  # (key, upload) -> number -> (ETag, bytes); of a part under way, nothing
        self.acknowledged = 0
        self.until = datetime(2040, 1, 1, tzinfo=timezone.utc)

    def body(self):
        size = self.random.choice([0, 100, 4096, 16 << 10, 40_000, 300_000, 2 * MIB])
        return self.random.randbytes(size)

    def key(self):
        return f"{self.name}/{self.random.randrange(12)}" + self.random.choice(["", "/", "/x"])

    def run(self, s3, stop):
        self.s3 = s3
        steps = [self.put] * 4 + [self.delete, self.copy, self.version] + [self.version, self.marker, self.drop, self.lock, self.extend, self.hold, self.begin, self.part, self.part, self.complete]
        try:
            while not stop.is_set():
                self.random.choice(steps)()
                self.acknowledged += 1
        except BotoCoreError:
            return  # the server has gone
        except ClientError as e:
            self.failure = e
            raise

    def change(self, key, new, call):
        """A request that makes a key hold something new: until its answer, old or new."""
        old = self.plain.get(key, {GONE})
        self.plain[key] = old | {new}
        call()
        self.plain[key] = {new}

    def put(self):
        key, data = self.key(), self.body()
        self.change(key, digest(data), lambda: self.s3.put_object(Bucket="plain", Key=key, Body=data))

    def delete(self):
        key = self.key()
        self.change(key, GONE, lambda: self.s3.delete_object(Bucket="plain", Key=key))

    def copy(self):
        known = [k for k, may in self.plain.items() if len(may) == 1 and may != {GONE} and not k.endswith("-copy")]
        if known:
            source, key = self.random.choice(known), self.key() + "-copy"
            (held,) = self.plain[source]
            self.change(key, held, lambda: self.s3.copy_object(Bucket="plain", Key=key, CopySource={"Bucket": "plain", "Key": source}))

    def version(self):
        key, data = self.key(), self.body()
        self.versions[key, self.s3.put_object(Bucket="versions", Key=key, Body=data)["VersionId"]] = digest(data)

    def marker(self):
        key = self.key()
        self.versions[key, self.s3.delete_object(Bucket="versions", Key=key)["VersionId"]] = "marker"

    def drop(self):
        if self.versions:
            key, version = at = self.random.choice(sorted(self.versions))
            del self.versions[at]  # from here on it may be there or not
            self.s3.delete_object(Bucket="versions", Key=key, VersionId=version)

    def lock(self):
        key, data = self.key(), self.body()
        r = self.s3.put_object(Bucket="locked", Key=key, Body=data, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=self.until)
        self.locked[key, r["VersionId"]] = [digest(data), {self.until}, {None}]

    def extend(self):
        if self.locked:
            key, version = at = self.random.choice(sorted(self.locked))
            until = max(self.locked[at][1]) + timedelta(days=1)
            self.locked[at][1] = self.locked[at][1] | {until}
            self.s3.put_object_retention(Bucket="locked", Key=key, VersionId=version, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
            self.locked[at][1] = {until}

    def hold(self):
        if self.locked:
            key, version = at = self.random.choice(sorted(self.locked))
            status = self.random.choice(["ON", "OFF"])
            self.locked[at][2] = self.locked[at][2] | {status}
            self.s3.put_object_legal_hold(Bucket="locked", Key=key, VersionId=version, LegalHold={"Status": status})
            self.locked[at][2] = {status}

    def begin(self):
        if len(self.uploads) < 2:
            key = f"{self.name}/upload-{self.random.randrange(4)}"
            upload = self.s3.create_multipart_upload(Bucket="plain", Key=key)["UploadId"]
            self.begun.add(upload)
            self.uploads[key, upload] = {}

    def part(self):
        if self.uploads:
            (key, upload), parts = self.random.choice(sorted(self.uploads.items(), key=lambda u: u[0]))
            number, data = self.random.randrange(1, 4), self.random.randbytes(5 * MIB if self.random.random() < 0.5 else 5 * MIB + 12345)
            parts.pop(number, None)
            r = self.s3.upload_part(Bucket="plain", Key=key, UploadId=upload, PartNumber=number, Body=data)
            parts[number] = (r["ETag"], data)

    def complete(self):
        ready = sorted(u for u, parts in self.uploads.items() if parts)
        if ready:
            self.finish(self.random.choice(ready))

    def finish(self, at):
        key, upload = at
        parts = sorted(self.uploads[at].items())
        chosen = [{"PartNumber": n, "ETag": etag} for n, (etag, _) in parts]
        whole = digest(b"".join(data for _, (_, data) in parts))
        done = lambda: self.s3.complete_multipart_upload(Bucket="plain", Key=key, UploadId=upload, MultipartUpload={"Parts": chosen})
        del self.uploads[at]
        self.unanswered.add(upload)
        self.change(key, whole, done)
        self.unanswered.remove(upload)

    # What a server that has started again must have.

    def held(self, bucket, key, **more):
        try:
            return digest(self.s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read())
        except ClientError as e:
            if e.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion"):
                return GONE
            raise AssertionError(f"{bucket}/{key} {more}: {e}") from e

    def verify(self, s3):
        self.s3 = s3
        for key, may in self.plain.items():
            got = self.held("plain", key)
            assert got in may, f"plain/{key} holds {got}, not one of {may}"
            self.plain[key] = {got}
        for (key, version), want in self.versions.items():
            if want == "marker":
                try:
                    s3.head_object(Bucket="versions", Key=key, VersionId=version)
                except ClientError as e:
                    assert e.response["Error"]["Code"] == "405", f"marker {key} {version}: {e}"
                    continue
                raise AssertionError(f"marker {key} {version} is an object")
            assert self.held("versions", key, VersionId=version) == want, f"versions/{key} {version} is not what was acknowledged"
        self.verify_locks()
        self.verify_uploads()

    def verify_locks(self):
        for (key, version), known in self.locked.items():
            want, untils, holds = known
            r = self.s3.get_object(Bucket="locked", Key=key, VersionId=version)
            assert digest(r["Body"].read()) == want, f"locked/{key} {version}"
            until, hold = r["ObjectLockRetainUntilDate"], r.get("ObjectLockLegalHoldStatus")
            assert until in untils and hold in holds, f"locked/{key} {version}: {until} of {untils}, {hold} of {holds}"
            known[1:] = {until}, {hold}
        for key, version in list(self.locked)[:2]:
            try:
                self.s3.delete_object(Bucket="locked", Key=key, VersionId=version)
            except ClientError as e:
                assert e.response["Error"]["Code"] == "AccessDenied", e
                continue
            raise AssertionError(f"locked/{key} {version} was deleted")

    def verify_uploads(self):
        for at in sorted(self.uploads):
            key, upload = at
            listed = {p["PartNumber"]: p["ETag"] for p in self.s3.list_parts(Bucket="plain", Key=key, UploadId=upload).get("Parts", [])}
            for number, (etag, _) in self.uploads[at].items():
                assert listed.get(number) == etag, f"part {number} of {key} {upload}: {listed.get(number)}, acknowledged {etag}"
        for at in sorted(u for u, parts in self.uploads.items() if parts)[:1]:
            self.finish(at)
            (whole,) = self.plain[at[0]]
            assert self.held("plain", at[0]) == whole, f"{at} is not its parts"


def load(workers, s3, seconds, server):
    stop = threading.Event()
    threads = [threading.Thread(target=w.run, args=(s3, stop)) for w in workers]
    for t in threads:
        t.start()
    time.sleep(seconds)
    server.kill()
    stop.set()
    for t in threads:
        t.join()
    for w in workers:
        assert not hasattr(w, "failure"), w.failure


def main():
    print("seed", SEED, flush=True)
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="waxseal-killed.") as directory:
        workers = [Worker(n) for n in range(WORKERS)]
        server = Server(directory, lambda: set().union(*(w.begun for w in workers)), lambda: set().union(*(w.unanswered for w in workers)))
        s3 = server.start()
        try:
            for bucket in ("plain", "versions", "locked"):
                s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=bucket == "locked")
            default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
            s3.put_bucket_encryption(Bucket="versions", ServerSideEncryptionConfiguration={"Rules": [default]})
            s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
            for number in range(1, ROUNDS + 1):
                load(workers, s3, chance.uniform(0.2, 2), server)
                found = server.check().strip().splitlines()
                s3 = server.start()
                over = server.check_ledger()
                for w in workers:
                    w.verify(s3)
                print(f"round {number}: {sum(w.acknowledged for w in workers)} requests acknowledged; fsck: {found[-1] if found else ''}; the ledger was {over} objects too high; {len(server.left)} uploads were left without a record, {server.twice} counted beside their objects", flush=True)
        finally:
            server.kill()


main()
