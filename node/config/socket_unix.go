//go:build !windows

package config

const defaultSocket = "watchward.sock"
