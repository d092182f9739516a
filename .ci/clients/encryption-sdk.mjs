// The AWS Encryption SDK with waxseal as its KMS: what one process encrypts under two KMS keys, another decrypts under
// either, with the context bound; and nobody decrypts what was changed, or under another key.
import { buildClient, CommitmentPolicy, getClient, KMS, KmsKeyringNode } from '@aws-crypto/client-node'
import { CreateKeyCommand, DisableKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

const connection = {
  endpoint: process.env.KMS,
  region: process.env.AWS_DEFAULT_REGION,
  credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY },
}
const clientProvider = getClient(KMS, connection)
const admin = new KMSClient(connection)
const newKey = async () => (await admin.send(new CreateKeyCommand({}))).KeyMetadata.Arn
const [generator, second, other] = [await newKey(), await newKey(), await newKey()]
const keyring = (options) => new KmsKeyringNode({ clientProvider, ...options })

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const encryptionContext = { purpose: 'round trip', origin: 'waxseal' }

for (const size of [0, 1, 4096, 1_000_000]) {
  const plaintext = randomBytes(size)
  const { result, messageHeader } = await encrypt(
    keyring({ generatorKeyId: generator, keyIds: [second] }), plaintext, { encryptionContext })
  assert.equal(messageHeader.encryptedDataKeys.length, 2)
  for (const key of [generator, second]) {
    const opened = await decrypt(keyring({ keyIds: [key] }), result)
    assert.deepEqual(opened.plaintext, plaintext)
    for (const [name, value] of Object.entries(encryptionContext)) {
      assert.equal(opened.messageHeader.encryptionContext[name], value)
    }
  }
  await assert.rejects(decrypt(keyring({ keyIds: [other] }), result), 'another key opened it')
  const changed = Buffer.from(result)
  changed[changed.length - 1] ^= 1
  await assert.rejects(decrypt(keyring({ keyIds: [generator] }), changed), 'a changed message opened')
  console.log(`${size} bytes: encrypted under two keys, decrypted under each`)
}

// One of two keys is enough: the other may be disabled.
const { result } = await encrypt(keyring({ generatorKeyId: generator, keyIds: [second] }), 'still readable')
await admin.send(new DisableKeyCommand({ KeyId: generator }))
const { plaintext } = await decrypt(keyring({ keyIds: [generator, second] }), result)
assert.equal(plaintext.toString(), 'still readable')
await assert.rejects(decrypt(keyring({ keyIds: [generator] }), result), 'a disabled key opened it')
console.log('with one key disabled the other decrypts')
