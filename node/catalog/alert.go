package catalog

var alertTexts = texts{}
