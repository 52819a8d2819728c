package taxii

// PostsMax is postsMax.
const PostsMax = postsMax
