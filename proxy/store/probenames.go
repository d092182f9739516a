package store

import (
	"net/http"
	"slices"

	"waxseal/proxy/s3"
)

// losesNames looks for names outside XML 1.0 in a listing with encoding-type=url. A store without this parameter shows
// U+FFFD instead of such characters: nobody can tell the object's name.
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

// foldsFolders writes the key "folder__XLDIR__" and looks for an object at "folder/", where nothing was written.
func (p *prober) foldsFolders() (bool, error) {
	status, _, err := p.do(http.MethodPut, "folder"+FolderSuffix, "", nil, []byte("1"))
	if err != nil || status != http.StatusOK {
		return err == nil, err
	}
	return p.exists("folder/")
}

// FolderSuffix replaces the slash at the end of a folder's key inside MinIO. MinIO takes a client's key with this
// suffix for the folder.
const FolderSuffix = "__XLDIR__"
