package misp

// Bound sets how many bytes a list, a manifest or an event's file may have: going
// through as many as are allowed takes the race detector half a minute.
func (c *Client) Bound(bytes int64) { c.listMax, c.fileMax = bytes, bytes }
