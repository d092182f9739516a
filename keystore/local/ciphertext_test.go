package local

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"waxseal/keystore"
)

// archived is a ciphertext written by a released version: every later version reads it.
type archived struct {
	Comment   string
	ARN       string
	Account   string
	KeyID     string
	Material  []byte
	Context   map[string]string
	Plaintext []byte
	Blob      []byte
}

var archive = flag.Bool("archive", false, "add new examples to testdata/ciphertexts.json")

const archiveFile = "testdata/ciphertexts.json"

func TestArchivedCiphertexts(t *testing.T) {
	if *archive {
		addToArchive(t)
	}
	raw, err := os.ReadFile(archiveFile)
	if err != nil {
		t.Fatal(err)
	}
	var examples []archived
	if err := json.Unmarshal(raw, &examples); err != nil {
		t.Fatal(err)
	}
	if len(examples) < 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		h, err := parseBlob(e.Blob)
		if err != nil || h.account != e.Account || h.keyID != e.KeyID || h.material != materialID(e.Account, e.KeyID, e.Material) {
			t.Errorf("%s: header %+v, %v", e.Comment, h, err)
		}
		got, err := openBlob(e.Blob, e.ARN, e.Material, e.Context)
		if err != nil || !bytes.Equal(got, e.Plaintext) {
			t.Errorf("%s: %x, %v", e.Comment, got, err)
		}
	}
}

func addToArchive(t *testing.T) {
	var examples []archived
	if raw, err := os.ReadFile(archiveFile); err == nil {
		if err := json.Unmarshal(raw, &examples); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range []archived{
		{Comment: "data key, no context", Plaintext: bytes.Repeat([]byte{0xdd}, 32)},
		{Comment: "one byte, S3's context", Plaintext: []byte{1}, Context: map[string]string{"aws:s3:arn": "arn:aws:s3:::bucket/key"}},
		{Comment: "4096 bytes, several pairs", Plaintext: bytes.Repeat([]byte{7}, 4096), Context: map[string]string{"b": "2", "a": "1", "": ""}},
	} {
		e.Account, e.KeyID = "000000000042", "01234567-89ab-4cde-8f01-23456789abcd"
		e.ARN = keyARN("us-east-1", e.Account, e.KeyID)
		e.Material = bytes.Repeat([]byte{byte(i + 1)}, 32)
		var err error
		e.Blob, err = sealBlob(blobHeader{e.Account, e.KeyID, materialID(e.Account, e.KeyID, e.Material)}, e.ARN, e.Material, e.Plaintext, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, e)
	}
	raw, err := json.MarshalIndent(examples, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(archiveFile, append(raw, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The same material in two keys: a blob of a key does not open under the second key, neither by name nor with an edited
// header.
func TestEqualMaterialOfTwoKeys(t *testing.T) {
	material := bytes.Repeat([]byte{9}, 32)
	one, two := "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	blob, err := sealBlob(blobHeader{testAccount, one, materialID(testAccount, one, material)}, keyARN(testRegion, testAccount, one), material, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openBlob(blob, keyARN(testRegion, testAccount, two), material, nil); err == nil {
		t.Error("opened under another key's ARN")
	}
	if _, err := openBlob(blob, keyARN("eu-west-1", testAccount, one), material, nil); err == nil {
		t.Error("opened in another Region")
	}
	forged, err := blobHeader{testAccount, two, materialID(testAccount, two, material)}.encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(blob, forged)
	if _, err := openBlob(blob, keyARN(testRegion, testAccount, two), material, nil); err == nil {
		t.Error("opened after its header was rewritten")
	}
}

func FuzzParseBlob(f *testing.F) {
	material := make([]byte, 32)
	id := "11111111-1111-4111-8111-111111111111"
	blob, err := sealBlob(blobHeader{testAccount, id, materialID(testAccount, id, material)}, "arn", material, []byte("x"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseBlob(b)
		if err != nil {
			return
		}
		encoded, err := h.encode()
		if err != nil || !bytes.Equal(encoded, b[:len(encoded)]) {
			t.Errorf("%x parses as %+v, which encodes as %x, %v", b, h, encoded, err)
		}
		if got, err := openBlob(b, "arn", material, keystore.Context{}); err == nil && string(got) != "x" {
			t.Errorf("forged %q", got)
		}
	})
}
