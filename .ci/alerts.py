"""Fires each alert of deploy/prometheus/waxseal.rules.yaml by its fault, on running programs, and sees it end.

usage: alerts.py WAXSEAL VERSITYGW PROMETHEUS DIR

Two waxseals run: `keys` on its embedded store, the AWS KMS of the other; `front` in front of versitygw, under that KMS, with a
data directory of 1 GiB (a tmpfs, so root is needed) that grows later. Prometheus scrapes both each second. Its rules are those
of the repository with shorter times: `for` 2 s, ranges 20 s. It ends with 'N passed, N failed'.
"""
import contextlib, json, os, re, signal, socket, subprocess, sys, threading, time, urllib.error, urllib.request

import boto3
from botocore.config import Config

WAXSEAL, VERSITYGW, PROMETHEUS, DIR = sys.argv[1:]
RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../deploy/prometheus/waxseal.rules.yaml")
ACCESS, SECRET = "AKIAALERTS0000000000", "secret-of-the-root-user-of-the-alerts"
started = []


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(name, *command, **env):
    log = open(f"{DIR}/{name}.log", "ab")
    p = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env})
    started.append(p)
    return p


def wait(what, true, seconds=60):
    end = time.time() + seconds
    while not true():
        if time.time() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


class Waxseal:
    def __init__(self, name, *args, **env):
        self.name, self.data = name, f"{DIR}/{name}"
        self.s3, self.kms, self.admin = (f"127.0.0.1:{port()}" for _ in range(3))
        os.makedirs(self.data, mode=0o700, exist_ok=True)
        self.process = start(name, WAXSEAL, "serve", "--data-dir", self.data, "--listen", self.s3, "--kms-listen", self.kms,
                             "--admin-listen", self.admin, "--drain-delay", "0", *args,
                             WAXSEAL_ACCESS_KEY=ACCESS, WAXSEAL_SECRET_KEY=SECRET, **env)
        wait(f"{name} is ready", lambda: get(f"http://{self.admin}/readyz")[0] == 200)

    def client(self, service, retries=0):
        scheme = "https" if self.name == "front" else "http"
        return boto3.client(service, endpoint_url=f"{scheme}://{self.s3 if service == 's3' else self.kms}", verify=False,
                            aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1",
                            config=Config(retries={"max_attempts": retries}, connect_timeout=5, read_timeout=20,
                                          s3={"addressing_style": "path"}, max_pool_connections=50, signature_version="s3v4"))


def certificate(days):
    """Writes the files of front's certificate; waxseal reads them again when they change."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", f"{DIR}/tls.key.new", "-out", f"{DIR}/tls.crt.new"], check=True, capture_output=True)
    os.chmod(f"{DIR}/tls.key.new", 0o600)
    for f in ("tls.key", "tls.crt"):
        os.replace(f"{DIR}/{f}.new", f"{DIR}/{f}")


def prometheus(*targets):
    with open(RULES) as f:
        rules = f.read()
    rules = re.sub(r"\bfor: \S+", "for: 2s", rules)
    rules = re.sub(r"\[\d+[mh]\]", "[20s]", rules)
    with open(f"{DIR}/rules.yaml", "w") as f:
        f.write(rules)
    with open(f"{DIR}/prometheus.yaml", "w") as f:
        f.write("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
                f"rule_files: [{DIR}/rules.yaml]\n"
                "scrape_configs:\n- job_name: waxseal\n  static_configs:\n  - targets: " + json.dumps(targets) + "\n")
    address = f"127.0.0.1:{port()}"
    start("prometheus", PROMETHEUS, f"--config.file={DIR}/prometheus.yaml", f"--storage.tsdb.path={DIR}/tsdb", f"--web.listen-address={address}")
    wait("prometheus is ready", lambda: get(f"http://{address}/-/ready")[0] == 200)
    return address


def firing(alert):
    status, text = get(f"http://{prom}/api/v1/alerts")
    if status != 200:
        return []
    return [a["labels"].get("instance") for a in json.loads(text)["data"]["alerts"]
            if a["labels"]["alertname"] == alert and a["state"] == "firing"]


@contextlib.contextmanager
def stopped(process):
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def repeated(work):
    """Does work again and again, also when it fails, as clients do."""
    over = threading.Event()

    def loop():
        while not over.is_set():
            with contextlib.suppress(Exception):
                work()
            over.wait(0.1)

    t = threading.Thread(target=loop)
    t.start()
    try:
        yield
    finally:
        over.set()
        t.join()


def flip(name, offset):
    """Changes a byte of the file in which versitygw keeps an object."""
    with open(f"{DIR}/store/alerts/{name}", "r+b") as f:
        f.seek(offset)
        b = f.read(1)
        f.seek(offset)
        f.write(bytes([b[0] ^ 1]))


# The faults: context managers under which the alert must fire, and after which it must end.

def read(key):
    return front.client("s3").get_object(Bucket="alerts", Key=key)["Body"].read()


@contextlib.contextmanager
def down():
    with stopped(keys.process):
        yield


@contextlib.contextmanager
def store_away():
    with stopped(store):
        yield


@contextlib.contextmanager
def keys_away():
    with stopped(keys.process):
        yield


@contextlib.contextmanager
def state_damaged():
    """Overwrites everything behind the first two pages of state.db, which the process has mapped."""
    path = f"{keys.data}/state.db"
    with open(path, "r+b") as f:
        whole = f.read()
        f.seek(8192)
        f.write(b"\xff" * (len(whole) - 8192))
        f.flush()
        try:
            yield
        finally:
            f.seek(8192)
            f.write(whole[8192:])


@contextlib.contextmanager
def tampered():
    front.client("s3").put_object(Bucket="alerts", Key="tampered", Body=b"x" * 1000)
    flip("tampered", 500)
    with repeated(lambda: read("tampered")):
        yield


@contextlib.contextmanager
def cut():
    front.client("s3").put_object(Bucket="alerts", Key="cut", Body=b"x" * 20_000_000)
    flip("cut", 19_000_000)
    with repeated(lambda: read("cut")):
        yield


@contextlib.contextmanager
def plaintext():
    os.makedirs(f"{DIR}/store/plain", exist_ok=True)
    with open(f"{DIR}/store/plain/object", "wb") as f:
        f.write(b"in clear")
    with repeated(lambda: front.client("s3").get_object(Bucket="plain", Key="object")["Body"].read()):
        yield


@contextlib.contextmanager
def errors():
    with state_damaged(), repeated(lambda: keys.client("s3").list_objects_v2(Bucket="own")), \
            repeated(lambda: keys.client("s3").create_multipart_upload(Bucket="own", Key="k")), \
            repeated(lambda: keys.client("s3").get_bucket_encryption(Bucket="own")):
        yield


@contextlib.contextmanager
def overloaded():
    with stopped(keys.process), repeated(lambda: front.client("s3").put_object(Bucket="alerts", Key="k", Body=b"x",
                                         ServerSideEncryption="aws:kms", SSEKMSKeyId=other_key)):
        yield


@contextlib.contextmanager
def near_limit():
    """950 uploads of which only the beginning comes: they are authenticated and have their places."""
    url = keys.client("s3").generate_presigned_url("put_object", Params={"Bucket": "own", "Key": "slow"}, ExpiresIn=600)
    path = url.split(keys.s3, 1)[1]
    head = f"PUT {path} HTTP/1.1\r\nHost: {keys.s3}\r\nContent-Length: 20000000\r\n\r\n".encode()
    connections = []

    def trickle():
        for c in connections:
            with contextlib.suppress(OSError):
                c.send(b"x" * 4096)

    try:
        for i in range(950):
            host, p = keys.s3.split(":")
            connections.append(socket.create_connection((host, int(p))))
            connections[-1].sendall(head + b"x" * 16384)  # waxseal waits for 8 KiB of a body before it looks
            if i % 50 == 0:
                time.sleep(0.2)  # unproven connections have 256 places
        with repeated(trickle):
            yield
    finally:
        for c in connections:
            c.close()


@contextlib.contextmanager
def throttled():
    kms = keys.client("kms")
    threads = [repeated(lambda: [kms.generate_data_key(KeyId=other_key, KeySpec="AES_256") for _ in range(20)]) for _ in range(8)]
    with contextlib.ExitStack() as all:
        for t in threads:
            all.enter_context(t)
        yield


@contextlib.contextmanager
def certificate_ends():
    certificate(3)
    with repeated(lambda: front.client("s3").list_buckets()):
        yield
        certificate(60)
        front.client("s3").list_buckets()


@contextlib.contextmanager
def backup_old():
    two_days = time.time() - 48 * 3600
    os.utime(f"{keys.data}/last-backup", (two_days, two_days))
    yield
    subprocess.run([WAXSEAL, "backup", "--data-dir", keys.data, f"{DIR}/backup"], check=True)


@contextlib.contextmanager
def audit_backlog():
    """The audit bucket of keys is missing until it is made."""
    kms = keys.client("kms")
    with repeated(lambda: kms.generate_data_key(KeyId=other_key, KeySpec="AES_256")):
        yield
        keys.client("s3").create_bucket(Bucket="records")


@contextlib.contextmanager
def disk_full():
    """The data directory of front begins with 1 GiB."""
    yield
    subprocess.run(["mount", "-o", "remount,size=4g", front.data], check=True)


FAULTS = [
    ("WaxsealDataDirectoryFull", disk_full, "front"),
    ("WaxsealAuditBacklog", audit_backlog, "keys"),
    ("WaxsealDown", down, "keys"),
    ("WaxsealStoreUnreachable", store_away, "front"),
    ("WaxsealKeyServiceUnreachable", keys_away, "front"),
    ("WaxsealObjectTampered", tampered, "front"),
    ("WaxsealAnswersCut", cut, "front"),
    ("WaxsealPlaintextServed", plaintext, "front"),
    ("WaxsealOverloaded", overloaded, "front"),
    ("WaxsealRequestsNearLimit", near_limit, "keys"),
    ("WaxsealKeyServiceThrottles", throttled, "keys"),
    ("WaxsealCertificateEnds", certificate_ends, "front"),
    ("WaxsealBackupOld", backup_old, "keys"),
    ("WaxsealStateUnreadable", state_damaged, "keys"),
    ("WaxsealErrors", errors, "keys"),
]


def check(alert, fault, who):
    instance = {"front": front, "keys": keys}[who].admin
    with fault():
        wait(f"{alert} fires", lambda: instance in firing(alert), 90)
    wait(f"{alert} ends", lambda: not firing(alert), 120)


def main():
    global keys, front, store, prom, other_key
    keys = Waxseal("keys", "--kms-rate", "50", "--audit-bucket", "records", "--audit-interval", "2s")
    kms = keys.client("kms")
    root_key, other_key = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    keys.client("s3").create_bucket(Bucket="own")

    gateway = f"127.0.0.1:{port()}"
    os.makedirs(f"{DIR}/store")
    store = start("versitygw", VERSITYGW, "-a", "user", "-s", "passsecret", "--port", gateway, "--quiet", "posix", f"{DIR}/store")
    certificate(60)
    os.makedirs(f"{DIR}/front")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g,mode=0700", "tmpfs", f"{DIR}/front"], check=True)
    with open(f"{DIR}/front.yaml", "w") as f:
        f.write("read_through: [plain]\n")
    front = Waxseal("front", "--config", f"{DIR}/front.yaml", "--upstream-endpoint", f"http://{gateway}", "--tls-cert", f"{DIR}/tls.crt",
                    "--tls-key", f"{DIR}/tls.key", "--kms-provider", "aws", "--kms-endpoint", f"http://{keys.kms}", "--kms-root-key", root_key,
                    "--bucket-key-ttl", "3s",
                    WAXSEAL_UPSTREAM_ACCESS_KEY="user", WAXSEAL_UPSTREAM_SECRET_KEY="passsecret",
                    WAXSEAL_KMS_ACCESS_KEY=ACCESS, WAXSEAL_KMS_SECRET_KEY=SECRET)
    front.client("s3").create_bucket(Bucket="alerts")
    prom = prometheus(keys.admin, front.admin)

    with open(RULES) as f:
        missing = set(re.findall(r"- alert: (\w+)", f.read())) ^ {a for a, _, _ in FAULTS}
    assert not missing, f"alerts without a fault, or faults without an alert: {missing}"
    only = set(os.environ.get("ALERTS", "").split())
    passed = failed = 0
    for alert, fault, who in FAULTS:
        if only and alert not in only:
            continue
        began = time.time()
        try:
            check(alert, fault, who)
            passed += 1
            print(f"ok    {alert} ({time.time() - began:.0f} s)", flush=True)
        except Exception as e:
            failed += 1
            print(f"FAIL  {alert}: {e!r}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed


try:
    status = main()
finally:
    for p in reversed(started):
        with contextlib.suppress(ProcessLookupError):
            p.send_signal(signal.SIGCONT)
            p.kill()
    for p in started:
        p.wait()
    subprocess.run(["umount", f"{DIR}/front"], check=False)
sys.exit(1 if status else 0)
