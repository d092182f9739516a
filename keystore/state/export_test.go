package state

// SealedWithoutMark seals a store's values without a mark, so that the store begins empty.
func SealedWithoutMark(s Store) Store { return &Sealed{store: s, sealer: new(tagSealer)} }
