package bucketkey

// ForgetElsewhere drops a KMS key from memory after a change by another replica; "" means every key. The records in the
// state are left to that replica. ForgetElsewhere does not call the state.
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
