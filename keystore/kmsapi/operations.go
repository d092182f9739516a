package kmsapi

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"waxseal/keystore"
	"waxseal/keystore/local"
)

// operation is a row of the table.
type operation struct {
	name    string
	request *schema
	strict  bool // unknown members are refused: they may limit the operation's effect
	call    func(context.Context, *local.Service, keystore.Caller, *schema, tree) (any, error)
}

// row returns the table's entry for a method of the service.
func row[In, Out any](name string, method func(*local.Service, context.Context, keystore.Caller, *In) (*Out, error)) operation {
	return operation{
		name:    name,
		request: schemaOf(reflect.TypeFor[In]()),
		strict:  local.Changes(name),
		call: func(ctx context.Context, s *local.Service, caller keystore.Caller, request *schema, from tree) (any, error) {
			in := new(In)
			request.fill(reflect.ValueOf(in).Elem(), from)
			out, err := method(s, ctx, caller, in)
			if err != nil {
				return nil, err
			}
			return out, nil
		},
	}
}

// refused returns the table's entry for an AWS operation without support here.
func refused(name, why string) operation {
	return operation{
		name:    name,
		request: schemaOf(reflect.TypeFor[struct{}]()),
		call: func(ctx context.Context, s *local.Service, caller keystore.Caller, _ *schema, _ tree) (any, error) {
			return nil, s.Refuse(ctx, caller, name, why)
		},
	}
}

const (
	noMultiRegion = "Multi-Region keys are not supported by this key service."
	noCustomStore = "Custom key stores are not supported by this key service."
	noMLKEM       = "ML-KEM keys (KeyUsage ENCAPSULATE_DECAPSULATE) are not supported by this key service."
)

var operations = index(
	// Keys.
	row("CreateKey", (*local.Service).CreateKey),
	row("DescribeKey", (*local.Service).DescribeKey),
	row("ListKeys", (*local.Service).ListKeys),
	row("EnableKey", (*local.Service).EnableKey),
	row("DisableKey", (*local.Service).DisableKey),
	row("UpdateKeyDescription", (*local.Service).UpdateKeyDescription),
	row("ScheduleKeyDeletion", (*local.Service).ScheduleKeyDeletion),
	row("CancelKeyDeletion", (*local.Service).CancelKeyDeletion),
	row("GetKeyLastUsage", (*local.Service).GetKeyLastUsage),

	// Names and labels.
	row("CreateAlias", (*local.Service).CreateAlias),
	row("UpdateAlias", (*local.Service).UpdateAlias),
	row("DeleteAlias", (*local.Service).DeleteAlias),
	row("ListAliases", (*local.Service).ListAliases),
	row("TagResource", (*local.Service).TagResource),
	row("UntagResource", (*local.Service).UntagResource),
	row("ListResourceTags", (*local.Service).ListResourceTags),

	// Access.
	row("GetKeyPolicy", (*local.Service).GetKeyPolicy),
	row("PutKeyPolicy", (*local.Service).PutKeyPolicy),
	row("ListKeyPolicies", (*local.Service).ListKeyPolicies),
	row("CreateGrant", (*local.Service).CreateGrant),
	row("ListGrants", (*local.Service).ListGrants),
	row("ListRetirableGrants", (*local.Service).ListRetirableGrants),
	row("RetireGrant", (*local.Service).RetireGrant),
	row("RevokeGrant", (*local.Service).RevokeGrant),

	// Rotation and import.
	row("EnableKeyRotation", (*local.Service).EnableKeyRotation),
	row("DisableKeyRotation", (*local.Service).DisableKeyRotation),
	row("GetKeyRotationStatus", (*local.Service).GetKeyRotationStatus),
	row("RotateKeyOnDemand", (*local.Service).RotateKeyOnDemand),
	row("ListKeyRotations", (*local.Service).ListKeyRotations),
	row("GetParametersForImport", (*local.Service).GetParametersForImport),
	row("ImportKeyMaterial", (*local.Service).ImportKeyMaterial),
	row("DeleteImportedKeyMaterial", (*local.Service).DeleteImportedKeyMaterial),

	// Cryptography.
	row("Encrypt", (*local.Service).Encrypt),
	row("Decrypt", (*local.Service).Decrypt),
	row("ReEncrypt", (*local.Service).ReEncrypt),
	row("GenerateDataKey", (*local.Service).GenerateDataKey),
	row("GenerateDataKeyWithoutPlaintext", (*local.Service).GenerateDataKeyWithoutPlaintext),
	row("GenerateDataKeyPair", (*local.Service).GenerateDataKeyPair),
	row("GenerateDataKeyPairWithoutPlaintext", (*local.Service).GenerateDataKeyPairWithoutPlaintext),
	row("GenerateRandom", (*local.Service).GenerateRandom),
	row("Sign", (*local.Service).Sign),
	row("Verify", (*local.Service).Verify),
	row("GetPublicKey", (*local.Service).GetPublicKey),
	row("GenerateMac", (*local.Service).GenerateMac),
	row("VerifyMac", (*local.Service).VerifyMac),
	row("DeriveSharedSecret", (*local.Service).DeriveSharedSecret),

	// Refused by name.
	refused("ReplicateKey", noMultiRegion),
	refused("UpdatePrimaryRegion", noMultiRegion),
	refused("SynchronizeMultiRegionKey", noMultiRegion),
	refused("CreateCustomKeyStore", noCustomStore),
	refused("ConnectCustomKeyStore", noCustomStore),
	refused("DeleteCustomKeyStore", noCustomStore),
	refused("DescribeCustomKeyStores", noCustomStore),
	refused("DisconnectCustomKeyStore", noCustomStore),
	refused("UpdateCustomKeyStore", noCustomStore),
	refused("Encapsulate", noMLKEM),
	refused("Decapsulate", noMLKEM),
)

func index(rows ...operation) map[string]*operation {
	byName := make(map[string]*operation, len(rows))
	for i := range rows {
		if byName[rows[i].name] != nil {
			panic("kmsapi: internal error: two rows for " + rows[i].name)
		}
		byName[rows[i].name] = &rows[i]
	}
	return byName
}

// Operations returns the names of all AWS KMS operations, in alphabetical order.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }
