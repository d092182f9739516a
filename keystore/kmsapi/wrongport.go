package kmsapi

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"

	"waxseal/keystore/inbound"
)

// isForS3 reports whether a request comes from an S3 client at the wrong port: every request to KMS is a POST of / with
// X-Amz-Target.
func isForS3(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	if bytes.HasPrefix(h.Peek("X-Amz-Target"), []byte(targetPrefix)) {
		return false
	}
	path, _, _ := strings.Cut(string(h.RequestURI()), "?")
	return !h.IsPost() || path != "/" || signedForS3(string(h.Peek("Authorization"))) ||
		bytes.HasPrefix(h.ContentType(), []byte("multipart/form-data")) // S3's POST form
}

// signedForS3 reports whether an Authorization header is S3's: Signature Version 2, never accepted by KMS, or S3 in the
// credential's scope.
func signedForS3(authorization string) bool {
	return strings.HasPrefix(authorization, "AWS ") || inbound.Service(authorization) == "s3"
}

// wrongPort is an error in S3's XML form, as S3 clients print it.
type wrongPort struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
}

// sayS3 answers an S3 client without reading its body or checking its signature.
func (h *Handler) sayS3(ctx *fasthttp.RequestCtx, requestID string) {
	body, err := xml.Marshal(wrongPort{
		Code: "InvalidRequest", RequestID: requestID,
		Message: "This is waxseal's key service, which speaks the KMS API. S3 is at the address of --listen.",
	})
	if err != nil {
		panic("kmsapi: internal error: an error cannot be encoded: " + err.Error())
	}
	ctx.SetStatusCode(http.StatusBadRequest)
	ctx.SetContentType("application/xml")
	ctx.SetBody(append([]byte(xml.Header), body...))
}
