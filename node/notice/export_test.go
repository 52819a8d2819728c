package notice

import "reflect"

// Said describes every field of an item, by key.
var Said = said

// DecodeBare is Decode whose faults are seen.
func DecodeBare(item []byte) (*Notice, error) { return decode(item) }

// Guard is what keeps a decoder's faults from stopping the node.
var Guard = guard

// TextKeys returns the keys of an item under which there is text.
func TextKeys() (keys []string) {
	walk("", reflect.ValueOf(wire{Context: &wireContext{}, Origin: &wireOrigin{}, wireParts: wireParts{
		&wireQuestion{}, &wireProfile{}, &wireMayday{}, &wireService{}, &wireAssistance{}, &wireLink{}, &wireAdvisory{Documents: []wireDocument{{}}}, &wireResponse{},
	}}), func(key string, v reflect.Value) {
		if _, list := v.Interface().([]string); list || v.Kind() == reflect.String {
			keys = append(keys, key)
		}
	})
	return keys
}
