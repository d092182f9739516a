// Manifests checks Kubernetes manifests on standard input against the types of k8s.io/api: a field that the API does not
// have, a value of another type, or a kind that is not listed here is an error. It needs no cluster.
//
//	helm template w deploy/helm/waxseal --set existingSecret=s | (cd .ci/manifests && go run .)
//
// The kinds of the Prometheus operator (monitoring.coreos.com) are custom resources: only their being objects is checked.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	n, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d manifests are valid\n", n)
}

// check decodes each document of r strictly and returns their number.
func check(r io.Reader) (int, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(r))
	for n := 0; ; {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return 0, errors.New("there is no manifest")
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
		kind, err := typeOf(text)
		switch {
		case err != nil:
			return n, err
		case kind.Kind == "":
			continue // a document of comments
		case strings.HasPrefix(kind.APIVersion, "monitoring.coreos.com/"):
		default:
			if _, _, err := decoder.Decode(text, nil, nil); err != nil {
				return n, fmt.Errorf("%s %s: %w", kind.Kind, kind.Metadata.Name, err)
			}
		}
		n++
	}
}

type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

func typeOf(text []byte) (h header, err error) {
	err = yaml.Unmarshal(text, &h)
	return h, err
}
