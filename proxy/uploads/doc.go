// Package uploads keeps the records of multipart uploads, and the parts that are staged for Complete.
//
// Records has what Create decided and how far Complete has come, in the state store: any replica can go on with an upload
// after a restart. Staging keeps sealed parts that cannot go to the store yet, in the directory of a process or in a bucket
// of the store. Candidates tells which send of a part counts. The sweeper removes what uploads left that ended without waxseal.
package uploads
