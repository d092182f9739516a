package bucketkey

// ForgetElsewhere drops what memory holds of a KMS key that another replica has changed; "" is every key. The records in
// the state are the business of the replica that made the change. It does not ask the state.
func (b *Keys) ForgetElsewhere(keyARN string) {
	m := &b.memory
	all := keyARN == ""
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	if all {
		m.forgotAll = m.epoch
	} else {
		m.forgot[keyARN] = m.epoch
	}
	m.resolved.Purge()
	m.drop(
		func(k *cachedKey) bool { return all || k.keyARN == keyARN },
		func(g *grant) bool { return all || g.keyARN == keyARN },
		func(c *active) bool { return all || c.keyARN == keyARN })
	removeIf(m.chains, func(c *cachedChains) bool { return all || c.keyARN == keyARN })
}
