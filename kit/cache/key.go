package cache

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// keyBytesMax keeps what is in the feed small; who has longer keys hashes them.
const keyBytesMax = 512

// keyNames returns how keys of kinds string, int and uint are written and read; nil for others, which need functions of the user's.
func keyNames[K comparable]() (name func(K) string, parse func(string) (K, error)) {
	kind := reflect.TypeFor[K]()
	parsed := func(set func(reflect.Value, string) error) func(string) (K, error) {
		return func(s string) (k K, err error) { return k, set(reflect.ValueOf(&k).Elem(), s) }
	}
	switch kind.Kind() {
	case reflect.String:
		return func(k K) string { return reflect.ValueOf(k).String() },
			parsed(func(v reflect.Value, s string) error { v.SetString(s); return nil })
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(k K) string { return strconv.FormatInt(reflect.ValueOf(k).Int(), 10) },
			parsed(func(v reflect.Value, s string) error {
				n, err := strconv.ParseInt(s, 10, kind.Bits())
				v.SetInt(n)
				return err
			})
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(k K) string { return strconv.FormatUint(reflect.ValueOf(k).Uint(), 10) },
			parsed(func(v reflect.Value, s string) error {
				n, err := strconv.ParseUint(s, 10, kind.Bits())
				v.SetUint(n)
				return err
			})
	}
	return nil, nil
}

// ErrKey says that a key is longer than 512 bytes as it is written in Redis.
var ErrKey = errors.New("cache: the key is too long")

// name is the key as it is written in Redis, after the cache's own name.
func (c *Cache[K, V]) name(key K) (string, error) {
	s := c.cfg.KeyName(key)
	if len(s) > keyBytesMax {
		return "", fmt.Errorf("%w: %d bytes, of at most %d", ErrKey, len(s), keyBytesMax)
	}
	return s, nil
}

// versionDigits writes a version or an epoch so that it can be compared as a string.
func versionDigits(v uint64) string { return fmt.Sprintf("%020d", v) }
