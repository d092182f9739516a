// Package kmsapi is the AWS KMS protocol (JSON 1.1) over the embedded key service.
//
//	serve -> authenticate -> look up the operation -> decode and validate -> call -> reply
//
// Every operation is a row of a table (operations.go): the request's type and the method of local.Service. Tags on the
// type's fields hold AWS's documented constraints. All errors become exceptions in the same place (errors.go).
package kmsapi
