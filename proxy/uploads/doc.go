// Package uploads keeps the records of multipart uploads, and the parts that are staged for CompleteMultipartUpload.
//
// Records keeps each upload's settings from Create and the progress of Complete in the state store: any replica can go
// on with an upload after a restart. Staging keeps sealed parts that cannot go to the store yet, in a directory of the
// process or in a bucket of the store. Candidates picks the valid send of each part. The sweeper cleans up after
// uploads that ended without waxseal.
package uploads
