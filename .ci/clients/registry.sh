#!/usr/bin/env bash
# The distribution registry with a waxseal as its storage: skopeo pushes and pulls images, the registry deletes and collects garbage.
# needs: docker-registry skopeo python3 aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
BUCKET=registry-$RANDOM-$$
aws s3api create-bucket --endpoint-url "$S3" --bucket "$BUCKET" >/dev/null
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
secure=false
case $S3 in https:*) secure=true && export SSL_CERT_FILE=$DATA/tls.crt ;; esac
registry=(env -u AWS_CA_BUNDLE timeout 600 docker-registry) # its S3 client cannot take the variable
cat >"$WORK/registry.yml" <<CONFIG
version: 0.1
log: {level: warn}
storage:
  s3: {region: us-east-1, regionendpoint: "$S3", bucket: $BUCKET, accesskey: $AWS_ACCESS_KEY_ID, secretkey: $AWS_SECRET_ACCESS_KEY,
       secure: $secure, v4auth: true, chunksize: 5242880, rootdirectory: /images, forcepathstyle: true}
  delete: {enabled: true}
http: {addr: "127.0.0.1:$PORT", secret: ci}
CONFIG
"${registry[@]}" serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
PIDS+=($!)
for ((i = 0; i < 100; i++)); do (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && break || sleep 0.1; done

# An image of two layers, 12 MB of random bytes and a few.
python3 - "$WORK" <<'IMAGE'
import gzip, hashlib, io, json, os, sys, tarfile
work = sys.argv[1]
blobs = os.path.join(work, "image", "blobs", "sha256")
os.makedirs(blobs)
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    open(os.path.join(blobs, digest), "wb").write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
layers, ids = [], []
for n, content in enumerate((os.urandom(12 << 20), b"a small file")):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(f"file{n}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    ids.append("sha256:" + hashlib.sha256(out.getvalue()).hexdigest())
    layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"} | blob(gzip.compress(out.getvalue(), 1)))
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}}
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | blob(json.dumps(config).encode())}
entry = {"mediaType": manifest["mediaType"], "annotations": {"org.opencontainers.image.ref.name": "one"}} | blob(json.dumps(manifest).encode())
open(os.path.join(work, "image", "oci-layout"), "w").write('{"imageLayoutVersion":"1.0.0"}')
open(os.path.join(work, "image", "index.json"), "w").write(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
IMAGE

plain=(--insecure-policy --tmpdir "$WORK")
image=docker://127.0.0.1:$PORT/ci/image
skopeo "${plain[@]}" copy -q --dest-tls-verify=false "oci:$WORK/image:one" "$image:one"
skopeo "${plain[@]}" copy -q --dest-tls-verify=false "oci:$WORK/image:one" "$image:two" # its blobs are there
skopeo "${plain[@]}" copy -q --src-tls-verify=false --dest-tls-verify=false "$image:one" "${image}2:one" # mounts them in another repository
same "$(skopeo list-tags --tls-verify=false "$image" | tr -d ' \n' | grep -o '"Tags":.*')" '"Tags":["one","two"]}' "tags"
# A pull is redirected to presigned URLs of the bucket.
skopeo "${plain[@]}" copy -q --src-tls-verify=false "${image}2:one" "oci:$WORK/back:one"
(cd "$WORK/image/blobs/sha256" && sha256sum --check --quiet <(for f in *; do echo "$f  $f"; done))
diff -r "$WORK/image/blobs" "$WORK/back/blobs"

skopeo delete --tls-verify=false "$image:two"
refused "manifest unknown" skopeo inspect --tls-verify=false "$image:one" # the same manifest
"${registry[@]}" garbage-collect "$WORK/registry.yml" >"$WORK/collected.log" 2>&1
skopeo "${plain[@]}" copy -q --src-tls-verify=false "${image}2:one" "oci:$WORK/again:one"
diff -r "$WORK/image/blobs" "$WORK/again/blobs"
finish registry
