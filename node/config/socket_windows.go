package config

// defaultSocket is off: on Windows a socket file's mode says nothing about who
// may open it.
const defaultSocket = ""
