package kmsapi

import (
	"os"
	"os/exec"
	"testing"
)

// TestBoto3 runs testdata/boto3_client.py against the endpoint: the calls of the AWS documents and the rest, with the
// most widely used client.
func TestBoto3(t *testing.T) {
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("python3 with boto3 is not installed: ", err)
	}
	e := start(t)
	cmd := exec.Command("python3", "testdata/boto3_client.py", e.url, testRegion)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAALICE", "AWS_SECRET_ACCESS_KEY=secret-of-alice", "AWS_EC2_METADATA_DISABLED=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestOpenSSLImport imports key material with the openssl command, as AWS's documentation does.
func TestOpenSSLImport(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for _, tool := range []string{"openssl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, " is not installed")
		}
	}
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("python3 with boto3 is not installed: ", err)
	}
	e := start(t)
	cmd := exec.Command("python3", "testdata/openssl_import.py", e.url, testRegion, t.TempDir())
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAALICE", "AWS_SECRET_ACCESS_KEY=secret-of-alice", "AWS_EC2_METADATA_DISABLED=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
