package s3blob

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscfg "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob/drivertest"
)

// TestEndpoint and TestEndpointUsingLegacyList are TestConformance and TestConformanceUsingLegacyList against an endpoint that answers,
// not against recordings. gocloud.sh lays this file over gocloud.dev's blob/s3blob.
func TestEndpoint(t *testing.T) {
	drivertest.RunConformanceTests(t, endpointHarness(nil), []drivertest.AsTest{verifyContentLanguage{usingLegacyList: false}})
}

func TestEndpointUsingLegacyList(t *testing.T) {
	drivertest.RunConformanceTests(t, endpointHarness(&Options{UseLegacyList: true}), []drivertest.AsTest{verifyContentLanguage{usingLegacyList: true}})
}

func endpointHarness(opts *Options) drivertest.HarnessMaker {
	return func(ctx context.Context, t *testing.T) (drivertest.Harness, error) {
		cfg, err := awscfg.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, err
		}
		client := s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.BaseEndpoint = aws.String(os.Getenv("S3_ENDPOINT"))
			o.UsePathStyle = true
		})
		return &harness{client: client, opts: opts, rt: http.DefaultTransport, closer: func() {}}, nil
	}
}
