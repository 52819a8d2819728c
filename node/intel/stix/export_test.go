package stix

// ReadFollowing is Read with a limit of what references may lead to.
var ReadFollowing = read
