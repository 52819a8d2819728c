package main

import (
	"strings"

	"golang.org/x/net/idna"
)

// withUnicode shows beside a value how a person writes its host: xn--mnchen-3ya.example
// (münchen.example). Only letters that cannot be taken for others are shown so; what
// may be a look-alike stays as it is.
func withUnicode(value string) string {
	host := hostOf(value)
	if !strings.Contains(host, "xn--") {
		return value
	}
	name, err := idna.Display.ToUnicode(host)
	if err != nil || name == host || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._"+europeLetters) != "" {
		return value
	}
	if back, err := idna.Display.ToASCII(name); err != nil || back != host {
		return value
	}
	return value + " (" + name + ")"
}

// europeLetters are the lower-case letters of European languages that are Latin and
// look like no other letter or sign. Missing on purpose: ı, ĸ, ŀ, ŉ and ſ.
const europeLetters = "ßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷźżž"

// hostOf returns the host of a URL, an e-mail address or a domain.
func hostOf(value string) string {
	if _, rest, ok := strings.Cut(value, "://"); ok {
		value = rest
	}
	if end := strings.IndexAny(value, "/?#"); end >= 0 {
		value = value[:end]
	}
	value = value[strings.LastIndexByte(value, '@')+1:]
	host, _, _ := strings.Cut(value, ":")
	return host
}
