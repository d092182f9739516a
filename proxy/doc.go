// Package proxy is waxseal's S3 endpoint.
//
// One request takes one path, which can be read from the top of server.go downwards:
//
//	PUT: serve -> verify -> route -> putObject -> {keys makes a data key, sse seals, store sends}
//	GET: serve -> verify -> route -> getObject -> {store answers, keys opens the data key, sse opens}
//
// What an operation does with the data is its row in the route table (route.go): seal, open, local, forward or
// refuse. An operation without a row is NotImplemented. Every error becomes a status in one place (errors.go).
//
// The seam to the store is HTTP: package store builds, signs and sends each request. Nothing of a client's request
// reaches the store unless headers.go lets it: ordinary headers pass by a deny-list, x-amz-* by an allow-list.
package proxy
