package enforce

import (
	"context"
	"errors"
	"maps"

	"waxseal/keystore"
	"waxseal/keystore/audit"
)

// exceptions are KMS's names of the refusals, as CloudTrail shows them.
var exceptions = map[keystore.Kind]string{
	keystore.NotFound: "NotFoundException", keystore.Disabled: "DisabledException",
	keystore.InvalidState: "KMSInvalidStateException", keystore.AccessDenied: "AccessDenied",
	keystore.InvalidKeyUsage: "InvalidKeyUsageException", keystore.InvalidCiphertext: "InvalidCiphertextException",
	keystore.IncorrectKey: "IncorrectKeyException", keystore.Throttled: "ThrottlingException",
	keystore.Unavailable: "KeyUnavailableException", keystore.Internal: "KMSInternalException",
}

// record returns the audit record, in the shape of the embedded key service's records: a single reader serves both.
func (u *use) record(dk keystore.DataKey, result error) *audit.Record {
	r := &audit.Record{
		UserIdentity: u.identity(), EventTime: audit.At(u.now), EventSource: audit.KMSSource, EventName: string(u.action),
		AWSRegion: u.enforcer.cfg.Region, RequestParameters: u.parameters(), RequestID: u.caller.RequestID, ReadOnly: true,
		ManagementEvent: true, RecipientAccountID: u.enforcer.cfg.Account,
	}
	if u.caller.ViaService != "" || u.caller.Service {
		r.From(audit.Internal, audit.Internal, audit.TLSDetails{})
	} else {
		r.From(u.caller.SourceIP, u.caller.UserAgent, audit.TLSDetails(u.caller.TLS))
	}
	if _, account, ok := parseKeyARN(u.keyARN); ok {
		r.Resources = []audit.Resource{{AccountID: account, Type: audit.KMSKey, ARN: u.keyARN}}
	}
	if dk.MaterialID != "" {
		r.AdditionalEventData = map[string]any{"keyMaterialId": dk.MaterialID}
	}
	r.ErrorCode, r.ErrorMessage = failure(result)
	return r
}

// failure returns an error as the audit record shows it. The cause goes to waxseal's own log only: it may name
// machines.
func failure(err error) (code, message string) {
	var e *keystore.Error
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &e):
		return exceptions[e.Kind], e.Message
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "RequestCanceled", ""
	}
	return exceptions[keystore.Internal], ""
}

func (u *use) parameters() map[string]any {
	p := map[string]any{"keyId": u.keyARN}
	if u.action == keystore.GenerateDataKey {
		p["keySpec"] = "AES_256"
	} else {
		p["encryptionAlgorithm"] = "SYMMETRIC_DEFAULT"
	}
	if len(u.ec) > 0 {
		p["encryptionContext"] = maps.Clone(u.ec)
	}
	return p
}

func (u *use) identity() audit.UserIdentity {
	return audit.Identify(audit.Principal{
		Requester: u.caller.Requester, AccountID: u.caller.AccountID, Service: u.caller.Service, ViaService: u.caller.ViaService != "",
	})
}
