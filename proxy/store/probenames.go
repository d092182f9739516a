package store

import (
	"net/http"
	"slices"

	"waxseal/proxy/s3"
)

// losesNames looks for names that XML 1.0 cannot hold in a listing with encoding-type=url. A store that does not know
// this parameter shows U+FFFD in the place of such characters: nobody can tell which object is meant.
func (p *prober) losesNames() (bool, error) {
	names := []string{"name\x01", "name\uFFFE", "name\uFFFF"}
	for _, name := range names {
		status, _, err := p.do(http.MethodPut, name, "", nil, []byte("1"))
		if err != nil {
			return false, err
		}
		if status != http.StatusOK {
			return true, nil
		}
	}
	status, doc, err := p.do(http.MethodGet, "", "encoding-type=url&list-type=2&prefix=name", nil, nil)
	if err != nil {
		return false, err
	}
	page, err := s3.ParseListing(doc)
	if status != http.StatusOK || err != nil {
		return true, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(page.Entries, func(e s3.ListEntry) bool { return e.Key == name }) {
			return true, nil
		}
	}
	return false, nil
}

// foldsFolders looks for a name under its folder's, where nothing was written.
func (p *prober) foldsFolders() (bool, error) {
	status, _, err := p.do(http.MethodPut, "folder"+FolderSuffix, "", nil, []byte("1"))
	if err != nil || status != http.StatusOK {
		return err == nil, err
	}
	return p.exists("folder/")
}

// FolderSuffix is what MinIO puts in the place of the slash at the end of a folder's key, and takes for it.
const FolderSuffix = "__XLDIR__"
