#!/usr/bin/env bash
# Every KMS command of a key administrator's day, printed with its answer: docs/kms-transcripts.md is this program's
# output. With AWS2, version 2 of the CLI, its spellings are shown, too. A command that fails, or one that should fail and
# does not, ends it with an error.
# needs: aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export AWS_PAGER=""
[ -n "${S3:-}" ] || CI_SERVE_ARGS="${CI_SERVE_ARGS:-} --region ap-northeast-2" start_waxseal
export AWS_DEFAULT_REGION=${KMS_REGION:-ap-northeast-2} AWS_ENDPOINT_URL_KMS=$KMS AWS_ENDPOINT_URL_S3=$S3
mkdir -p "$WORK/day" && cd "$WORK/day"
OPENSSL=${OPENSSL:-openssl}
VALID_TO=$(date -u -d '+30 days' +%Y-%m-%dT00:00:00Z)

section() { printf '\n## %s\n\n' "$1"; [ -z "${2:-}" ] || printf '%s\n\n' "$2"; }
begin_block() { echo '```console'; }
end_block() { echo '```'; echo; }

# run COMMAND prints a command and what it says, which is then in OUT.
run() {
	echo "\$ $1"
	OUT=$(eval "$1" 2>&1) || { echo "$OUT"; fail "$1"; return 1; }
	[ -z "$OUT" ] || echo "$OUT"
}

# refuses COMMAND is the same for one that must fail.
refuses() {
	echo "\$ $1"
	if OUT=$(eval "$1" 2>&1); then fail "was not refused: $1"; return 1; fi
	printf '%s\n' "$OUT" | sed '/^$/d'
}

value() { printf '%s' "$OUT" | python3 -c "import json,sys; print(json.load(sys.stdin)$1)"; }

section "Keys" "A key, by its id, by its ARN, and in the list."
begin_block
run "aws kms create-key"
ID=$(value "['KeyMetadata']['KeyId']") ARN=$(value "['KeyMetadata']['Arn']")
run "aws kms list-keys"
run "aws kms describe-key --key-id $ID"
end_block

section "Data keys" "The plaintext encrypts data and is thrown away; CiphertextBlob is kept beside the data. KeyId in the answer is the whole ARN."
begin_block
run "aws kms generate-data-key --key-id $ARN --key-spec AES_256"
run "aws kms generate-data-key-without-plaintext --key-id $ID --key-spec AES_256 --query KeyId --output text"
run "aws kms generate-random --number-of-bytes 16 --query Plaintext --output text"
end_block

section "Encrypt and decrypt" "Version 1 of the CLI takes \`--plaintext\` as the text itself. Decrypt needs no key id: the ciphertext names its key."
begin_block
run "aws kms encrypt --key-id $ID --plaintext 'raw text' --query CiphertextBlob --output text | base64 --decode > secret.bin"
run "aws kms decrypt --ciphertext-blob fileb://secret.bin --query Plaintext --output text | base64 --decode"
echo
same "$OUT" "raw text"
run "printf 'from a file' > plain.txt"
run "aws kms encrypt --key-id $ID --plaintext fileb://plain.txt --query CiphertextBlob --output text | base64 --decode > secret.bin"
run "aws kms decrypt --ciphertext-blob fileb://secret.bin --key-id $ARN --query Plaintext --output text | base64 --decode"
echo
same "$OUT" "from a file"
run "aws kms encrypt --key-id $ID --plaintext fileb://plain.txt --encryption-context team=blue,purpose=demo --query CiphertextBlob --output text | base64 --decode > bound.bin"
refuses "aws kms decrypt --ciphertext-blob fileb://bound.bin"
refuses "aws kms decrypt --ciphertext-blob fileb://bound.bin --encryption-context team=red,purpose=demo"
run "aws kms decrypt --ciphertext-blob fileb://bound.bin --encryption-context purpose=demo,team=blue --query KeyId --output text"
end_block

if [ -n "${AWS2:-}" ]; then
	section "The same with version 2 of the CLI" "Version 2 takes \`--plaintext\` as base64, unless it is told otherwise; \`fileb://\` means the same in both."
	aws2() { command "$AWS2" --endpoint-url "$KMS" "$@"; } # its older releases know no AWS_ENDPOINT_URL_KMS
	begin_block
	OUT=$("$AWS2" --version) && printf '$ aws --version\n%s\n' "${OUT%% Python*}"
	run2() { # shown as aws, run as version 2
		echo "\$ $1"
		OUT=$(eval "${1//aws kms/aws2 kms}" 2>&1) || { echo "$OUT"; fail "$1"; return 1; }
		[ -z "$OUT" ] || echo "$OUT"
	}
	run2 "aws kms create-key --description 'by version 2' --query KeyMetadata.KeyState --output text"
	run2 "aws kms list-keys --query 'length(Keys)'"
	run2 "aws kms describe-key --key-id $ID --query KeyMetadata.Arn --output text"
	run2 "aws kms generate-data-key --key-id $ARN --key-spec AES_256 --query KeyId --output text"
	run2 "aws kms encrypt --key-id $ID --plaintext 'raw text' --cli-binary-format raw-in-base64-out --query CiphertextBlob --output text | base64 --decode > secret.bin"
	run2 "aws kms decrypt --ciphertext-blob fileb://secret.bin --query Plaintext --output text | base64 --decode"
	echo
	same "$OUT" "raw text"
	run2 "aws kms encrypt --key-id $ID --plaintext fileb://plain.txt --query CiphertextBlob --output text | base64 --decode > secret.bin"
	run2 "aws kms decrypt --ciphertext-blob fileb://secret.bin --query Plaintext --output text | base64 --decode"
	echo
	same "$OUT" "from a file"
	run2 "aws kms encrypt --key-id $ID --plaintext \$(printf 'as base64' | base64) --query CiphertextBlob --output text | base64 --decode > secret.bin"
	run2 "aws kms decrypt --ciphertext-blob fileb://secret.bin --query Plaintext --output text | base64 --decode"
	echo
	same "$OUT" "as base64"
	end_block
fi

section "Aliases, descriptions, tags"
begin_block
run "aws kms create-alias --alias-name alias/app --target-key-id $ID"
run "aws kms list-aliases --key-id $ID"
run "aws kms describe-key --key-id alias/app --query KeyMetadata.KeyId --output text"
run "aws kms create-key --query KeyMetadata.KeyId --output text"
NEXT=$OUT
run "aws kms update-alias --alias-name alias/app --target-key-id $NEXT"
run "aws kms delete-alias --alias-name alias/app"
run "aws kms update-key-description --key-id $ID --description 'orders, production'"
run "aws kms tag-resource --key-id $ID --tags TagKey=team,TagValue=blue TagKey=environment,TagValue=production"
run "aws kms list-resource-tags --key-id $ID"
run "aws kms untag-resource --key-id $ID --tag-keys team"
end_block

section "Enable and disable"
begin_block
run "aws kms disable-key --key-id $ID"
refuses "aws kms encrypt --key-id $ID --plaintext x"
run "aws kms enable-key --key-id $ID"
end_block

section "Rotation" "Old ciphertext goes on opening; nothing is encrypted again."
begin_block
run "aws kms enable-key-rotation --key-id $ID --rotation-period-in-days 365"
run "aws kms get-key-rotation-status --key-id $ID"
run "aws kms rotate-key-on-demand --key-id $ID"
run "aws kms list-key-rotations --key-id $ID --include-key-material ALL_KEY_MATERIAL"
run "aws kms decrypt --ciphertext-blob fileb://secret.bin --query KeyId --output text"
run "aws kms disable-key-rotation --key-id $ID"
end_block

section "Moving ciphertext to another key"
begin_block
run "aws kms re-encrypt --ciphertext-blob fileb://secret.bin --destination-key-id $NEXT --query '{from: SourceKeyId, to: KeyId}'"
end_block

section "Policies and grants"
begin_block
run "aws kms list-key-policies --key-id $ID"
run "aws kms get-key-policy --key-id $ID --policy-name default --query Policy --output text"
ACCOUNT=000000000000
cat >policy.json <<JSON
{
  "Id": "key-consolepolicy-2", "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Enable IAM policies", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::$ACCOUNT:root"}, "Action": "kms:*", "Resource": "*"},
    {"Sid": "Allow access for Key Administrators", "Effect": "Allow",
     "Principal": {"AWS": ["arn:aws:iam::$ACCOUNT:user/KMSAdminUser", "arn:aws:iam::$ACCOUNT:role/KMSAdminRole"]},
     "Action": ["kms:Describe*", "kms:Put*", "kms:Create*", "kms:Update*", "kms:Enable*", "kms:Revoke*", "kms:List*", "kms:Disable*", "kms:Get*",
                "kms:Delete*", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:TagResource", "kms:UntagResource"], "Resource": "*"},
    {"Sid": "Allow use of the key", "Effect": "Allow",
     "Principal": {"AWS": ["arn:aws:iam::$ACCOUNT:user/ExampleUser", "arn:aws:iam::$ACCOUNT:role/ExampleRole", "arn:aws:iam::444455556666:root"]},
     "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"], "Resource": "*"},
    {"Sid": "Allow attachment of persistent resources", "Effect": "Allow",
     "Principal": {"AWS": ["arn:aws:iam::$ACCOUNT:user/ExampleUser", "arn:aws:iam::$ACCOUNT:role/ExampleRole", "arn:aws:iam::444455556666:root"]},
     "Action": ["kms:ListGrants", "kms:CreateGrant", "kms:RevokeGrant"], "Resource": "*",
     "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}
  ]
}
JSON
run "cat policy.json"
run "aws kms put-key-policy --key-id $ID --policy-name default --policy file://policy.json"
run "aws kms create-grant --key-id $ID --grantee-principal arn:aws:iam::$ACCOUNT:user/ExampleUser --operations Decrypt --constraints EncryptionContextSubset={team=blue} --name demo"
GRANT=$(value "['GrantId']")
run "aws kms list-grants --key-id $ID"
run "aws kms list-retirable-grants --retiring-principal arn:aws:iam::$ACCOUNT:root"
run "aws kms revoke-grant --key-id $ID --grant-id $GRANT"
run "aws kms create-grant --key-id $ID --grantee-principal arn:aws:iam::$ACCOUNT:user/ExampleUser --operations Decrypt RetireGrant --query GrantId --output text"
run "aws kms retire-grant --key-id $ARN --grant-id $OUT"
end_block

section "Importing key material" "256 bits from elsewhere, wrapped with OpenSSL, with an expiry, deleted and imported again."
begin_block
run "aws kms create-key --origin EXTERNAL --description 'brought along'"
EXTERNAL=$(value "['KeyMetadata']['KeyId']")
run "aws kms get-parameters-for-import --key-id $EXTERNAL --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_2048 > parameters.json"
run "python3 -c \"import json,base64; p=json.load(open('parameters.json')); [open(f,'wb').write(base64.b64decode(p[n])) for f,n in (('public.der','PublicKey'),('token.bin','ImportToken'))]\""
run "$OPENSSL rand -out material.bin 32"
run "$OPENSSL pkeyutl -encrypt -in material.bin -out wrapped.bin -inkey public.der -keyform DER -pubin -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"
run "aws kms import-key-material --key-id $EXTERNAL --encrypted-key-material fileb://wrapped.bin --import-token fileb://token.bin --expiration-model KEY_MATERIAL_EXPIRES --valid-to $VALID_TO"
run "aws kms describe-key --key-id $EXTERNAL"
run "aws kms encrypt --key-id $EXTERNAL --plaintext 'under my own material' --query CiphertextBlob --output text | base64 --decode > mine.bin"
run "aws kms delete-imported-key-material --key-id $EXTERNAL"
run "aws kms describe-key --key-id $EXTERNAL --query KeyMetadata.KeyState --output text"
refuses "aws kms decrypt --ciphertext-blob fileb://mine.bin"
run "aws kms get-parameters-for-import --key-id $EXTERNAL --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_4096 > parameters.json"
run "python3 -c \"import json,base64; p=json.load(open('parameters.json')); [open(f,'wb').write(base64.b64decode(p[n])) for f,n in (('public.der','PublicKey'),('token.bin','ImportToken'))]\""
run "$OPENSSL rand -out another.bin 32"
run "$OPENSSL pkeyutl -encrypt -in another.bin -out wrapped.bin -inkey public.der -keyform DER -pubin -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256"
refuses "aws kms import-key-material --key-id $EXTERNAL --encrypted-key-material fileb://wrapped.bin --import-token fileb://token.bin --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE"
run "$OPENSSL pkeyutl -encrypt -in material.bin -out wrapped.bin -inkey public.der -keyform DER -pubin -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256"
run "aws kms import-key-material --key-id $EXTERNAL --encrypted-key-material fileb://wrapped.bin --import-token fileb://token.bin --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE"
run "aws kms decrypt --ciphertext-blob fileb://mine.bin --query Plaintext --output text | base64 --decode"
echo
same "$OUT" "under my own material"
end_block

section "Asymmetric and HMAC keys"
begin_block
run "aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY --query KeyMetadata.KeyId --output text"
SIGNING=$OUT
run "aws kms sign --key-id $SIGNING --message fileb://plain.txt --signing-algorithm ECDSA_SHA_256 --query Signature --output text | base64 --decode > signature.bin"
run "aws kms verify --key-id $SIGNING --message fileb://plain.txt --signature fileb://signature.bin --signing-algorithm ECDSA_SHA_256 --query SignatureValid"
run "aws kms get-public-key --key-id $SIGNING --query PublicKey --output text | base64 --decode > signing.der"
run "$OPENSSL dgst -sha256 -verify signing.der -keyform DER -signature signature.bin plain.txt"
run "aws kms create-key --key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC --query KeyMetadata.KeyId --output text"
run "aws kms generate-mac --key-id $OUT --message fileb://plain.txt --mac-algorithm HMAC_SHA_256 --query MacAlgorithm --output text"
end_block

section "Refused by name"
begin_block
refuses "aws kms create-key --multi-region"
refuses "aws kms describe-custom-key-stores"
end_block

section "Deletion"
begin_block
run "aws kms schedule-key-deletion --key-id $NEXT --pending-window-in-days 7"
refuses "aws kms schedule-key-deletion --key-id $ID --pending-window-in-days 3"
refuses "aws kms encrypt --key-id $NEXT --plaintext x"
run "aws kms cancel-key-deletion --key-id $NEXT"
run "aws kms describe-key --key-id $NEXT --query KeyMetadata.KeyState --output text"
run "aws kms get-key-last-usage --key-id $ID"
end_block

section "boto3" "Region ap-northeast-2, as in the commands above."
cat >keys.py <<'PY'
import boto3

kms = boto3.client('kms', region_name='ap-northeast-2')
key_id = kms.create_key()['KeyMetadata']['KeyId']

data_key = kms.generate_data_key(KeyId=key_id, KeySpec='AES_256')
print(len(data_key['Plaintext']), len(data_key['CiphertextBlob']), data_key['KeyId'])
opened = kms.decrypt(CiphertextBlob=data_key['CiphertextBlob'], KeyId=key_id)
print(opened['Plaintext'] == data_key['Plaintext'], opened['EncryptionAlgorithm'])

encrypted = kms.encrypt(KeyId=key_id, Plaintext=b'Hello, KMS!')
print(kms.decrypt(CiphertextBlob=encrypted['CiphertextBlob'], KeyId=key_id)['Plaintext'])
print(kms.decrypt(CiphertextBlob=encrypted['CiphertextBlob'])['Plaintext'])

other = kms.create_key()['KeyMetadata']['KeyId']
for wrong in ({'KeyId': other}, {'EncryptionContext': {'a': 'b'}}):
    try:
        kms.decrypt(CiphertextBlob=encrypted['CiphertextBlob'], **wrong)
    except kms.exceptions.ClientError as e:
        print(e)
PY
begin_block
run "cat keys.py"
run "python3 keys.py"
end_block

section "The record of a use through S3" "An object under SSE-KMS, and what the log keeps of it."
begin_block
run "aws s3api create-bucket --bucket photos --create-bucket-configuration LocationConstraint=ap-northeast-2 --query Location --output text"
run "aws s3api put-object --bucket photos --key cat.jpg --body plain.txt --server-side-encryption aws:kms --ssekms-key-id $ID --bucket-key-enabled"
run "aws s3api get-object --bucket photos --key cat.jpg cat.jpg --query '{SSE: ServerSideEncryption, Key: SSEKMSKeyId, BucketKey: BucketKeyEnabled}'"
echo "\$ waxseal audit --bucket photos --event GenerateDataKey | python3 -m json.tool"
RECORDS=$("$WAXSEAL" audit --data-dir "$DATA" --bucket photos --event GenerateDataKey)
[ -n "$RECORDS" ] || fail "there is no record"
printf '%s\n' "$RECORDS" | head -n 1 | python3 -m json.tool
end_block
if [ -n "${WAXSEAL_PID:-}" ]; then stop_waxseal; fi
