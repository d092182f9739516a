// Package kmsapi is the AWS KMS protocol (JSON 1.1) over the embedded key service.
//
//	serve -> authenticate -> look up the operation -> decode and validate -> call -> reply
//
// Every operation is one row of a table (operations.go), with the request's type, whose tags hold the constraints
// that AWS documents for its members, and the method of local.Service that does it. One funnel turns an error into
// an exception (errors.go).
package kmsapi
