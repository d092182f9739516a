package local

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"waxseal/keystore"
)

// checkTags checks that tags may be added to a key's tags. Two tags must not differ in case only: policies compare
// condition keys without case, and the value of aws:ResourceTag/team must not be a matter of luck.
func (s *Service) checkTags(have, add []Tag) error {
	seen := map[string]string{}
	for _, t := range add {
		name := strings.ToLower(t.TagKey)
		if _, twice := seen[name]; twice {
			return failf(codeTag, "Duplicate tag keys")
		}
		if strings.HasPrefix(name, "aws:") {
			return failf(codeTag, "Tags beginning with aws: are reserved")
		}
		seen[name] = t.TagKey
	}
	total := len(add)
	for _, t := range have {
		switch added, again := seen[strings.ToLower(t.TagKey)]; {
		case !again:
			total++
		case added != t.TagKey:
			return failf(codeTag, "Duplicate tag keys: %s and %s differ in case only", t.TagKey, added)
		}
	}
	if total > s.limits.TagsPerKey {
		return failf(codeTag, "Too many tags")
	}
	return nil
}

// TagResource adds tags to a key or changes their values.
func (s *Service) TagResource(ctx context.Context, caller keystore.Caller, in *TagResourceRequest) (*Empty, error) {
	return perform(ctx, s, caller, "TagResource", in, func(c *call) (*Empty, error) {
		if err := s.checkTags(nil, in.Tags); err != nil { // two tags with the same condition key cannot be evaluated by policies
			return nil, err
		}
		_, err := c.change(ctx, in.KeyId, access{facts: requestTags(in.Tags)}, func(e *edit) error {
			if err := s.checkTags(e.Tags, in.Tags); err != nil {
				return err
			}
			e.Tags = mergeTags(e.Tags, in.Tags)
			return nil
		})
		return &Empty{}, err
	})
}

func mergeTags(have, add []Tag) []Tag {
	for _, t := range add {
		i := slices.IndexFunc(have, func(h Tag) bool { return h.TagKey == t.TagKey })
		if i < 0 {
			have = append(have, t)
		} else {
			have[i] = t
		}
	}
	return have
}

// requestTags returns the condition keys of the tags in a request.
func requestTags(tags []Tag) facts {
	f := facts{}
	for _, t := range tags {
		f["aws:RequestTag/"+t.TagKey] = []string{t.TagValue}
		f["aws:TagKeys"] = append(f["aws:TagKeys"], t.TagKey)
	}
	return f
}

// UntagResource removes tags; a missing tag is no error.
func (s *Service) UntagResource(ctx context.Context, caller keystore.Caller, in *UntagResourceRequest) (*Empty, error) {
	f := facts{"aws:TagKeys": in.TagKeys}
	return perform(ctx, s, caller, "UntagResource", in, func(c *call) (*Empty, error) {
		_, err := c.change(ctx, in.KeyId, access{facts: f}, func(e *edit) error {
			for _, name := range in.TagKeys {
				if strings.HasPrefix(strings.ToLower(name), "aws:") {
					return failf(codeTag, "Tags beginning with aws: are reserved")
				}
			}
			e.Tags = slices.DeleteFunc(e.Tags, func(t Tag) bool { return slices.Contains(in.TagKeys, t.TagKey) })
			return nil
		})
		return &Empty{}, err
	})
}

// ListResourceTags lists a key's tags by name.
func (s *Service) ListResourceTags(ctx context.Context, caller keystore.Caller, in *ListOfKeyRequest) (*ListResourceTagsResponse, error) {
	return perform(ctx, s, caller, "ListResourceTags", in, func(c *call) (*ListResourceTagsResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{})
		if err != nil {
			return nil, err
		}
		p, err := openMarker("tags", in.Marker, in.Limit, 50)
		if err != nil {
			return nil, err
		}
		tags := slices.Clone(k.Tags)
		slices.SortFunc(tags, func(a, b Tag) int { return cmp.Compare(a.TagKey, b.TagKey) })
		out := new(ListResourceTagsResponse)
		out.Tags, out.NextMarker = cut("tags", p, tags, func(t Tag) string { return t.TagKey })
		out.Truncated = out.NextMarker != ""
		return out, nil
	})
}
