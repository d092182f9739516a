package iam

import "bytes"

// Split parts the policy in two: the statements with want true, and the rest. Each part's Document holds the
// statements byte for byte. A part without statements is nil.
func (p *Policy) Split(want func(*Statement) bool) (wanted, rest *Policy) {
	var yes, no []*Statement
	for _, s := range p.statements {
		if want(s) {
			yes = append(yes, s)
		} else {
			no = append(no, s)
		}
	}
	return p.part(yes), p.part(no)
}

func (p *Policy) part(statements []*Statement) *Policy {
	switch len(statements) {
	case 0:
		return nil
	case len(p.statements):
		return p
	}
	part := &Policy{Version: p.Version, ID: p.ID, version: p.version, id: p.id, statements: statements}
	var b bytes.Buffer
	b.WriteByte('{')
	if p.version != nil {
		b.WriteString(`"Version":`)
		b.Write(p.version)
		b.WriteByte(',')
	}
	if p.id != nil {
		b.WriteString(`"Id":`)
		b.Write(p.id)
		b.WriteByte(',')
	}
	b.WriteString(`"Statement":[`)
	for i, s := range statements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(s.raw)
	}
	b.WriteString("]}")
	part.raw = b.Bytes()
	return part
}
